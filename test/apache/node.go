package apache

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/test/proc"
)

// Node is one Kafka process with a directory and an address. Both outlive the
// process, so that Start is the same node again.
type Node struct {
	Name string
	Addr string // host:port for clients; empty for a controller
	P    *proc.Process

	command proc.Command
	log     *os.File
}

// setup is what the nodes of a cluster have in common.
type setup struct {
	dist     dist
	dir      string
	voter    string // host:port of the controller
	combined bool   // the one broker is the controller too
	replicas int
	archive  bool // write the archive of classes at the end
}

// start writes the configuration of a node and starts it.
func (s setup) start(name string, id int, role, addr string) (*Node, error) {
	dir := path(s.dir, name)
	if err := os.MkdirAll(path(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	files := map[string]string{
		"server.properties":    s.properties(id, role, addr, path(dir, "data")),
		"data/meta.properties": fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\n", clusterID, id),
	}
	for name, content := range files {
		if err := os.WriteFile(path(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.dist.features(path(dir, "data")); err != nil {
		return nil, err
	}
	log, err := os.Create(path(dir, "log"))
	if err != nil {
		return nil, err
	}
	jvm := []string{"-Xmx160m"}
	if role == "controller" {
		jvm = []string{"-Xmx64m"}
	}
	if s.archive {
		jvm = append(jvm, "-XX:ArchiveClassesAtExit="+s.dist.archive())
	}
	command := s.dist.java(jvm, "kafka.Kafka", path(dir, "server.properties"))
	command.Name, command.Dir, command.Log = "kafka "+name, dir, log
	n := &Node{Name: name, Addr: addr, command: command, log: log}
	return n, n.Start()
}

// properties is a node's configuration: the defaults of a cluster that is meant
// to keep data, with the times in which a dead broker is noticed made short.
func (s setup) properties(id int, role, addr, data string) string {
	voter, listeners, extra := 100, []string{}, ""
	if role == "broker" {
		listeners = append(listeners, "PLAINTEXT://"+addr)
		extra = "advertised.listeners=PLAINTEXT://" + addr + "\ninter.broker.listener.name=PLAINTEXT\n"
	}
	if s.combined {
		voter, role = id, "broker,controller"
	}
	if strings.Contains(role, "controller") {
		listeners = append(listeners, "CONTROLLER://"+s.voter)
	}
	return extra + fmt.Sprintf(`process.roles=%s
node.id=%d
listeners=%s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=%d@%s
log.dirs=%s
auto.create.topics.enable=false
default.replication.factor=%d
min.insync.replicas=%d
offsets.topic.replication.factor=%d
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=3000
`, role, id, strings.Join(listeners, ","), voter, s.voter, data, s.replicas, s.replicas/2+1, s.replicas)
}

// Start starts the node's process and does not wait.
func (n *Node) Start() error {
	p, err := proc.Start(n.command)
	if err != nil {
		return err
	}
	n.P = p
	return nil
}

// Listening waits until the node's port is open.
func (n *Node) Listening(ctx context.Context) error {
	return proc.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		return reachable(n.Addr), n.alive()
	})
}

// Kill kills the node with SIGKILL and returns an error unless it is dead.
func (n *Node) Kill(ctx context.Context) error {
	n.P.Kill()
	if err := n.P.Killed(ctx); err != nil {
		return err
	}
	if reachable(n.Addr) {
		return fmt.Errorf("%s still listens", n.Name)
	}
	return nil
}

// Restart stops the node as an operator would, and starts it again.
func (n *Node) Restart(ctx context.Context) error {
	_ = n.P.Stop(ctx) // Java tells the signal that stopped it as its exit code
	if reachable(n.Addr) {
		return fmt.Errorf("%s did not stop: %w", n.Name, context.Cause(ctx))
	}
	if err := n.Start(); err != nil {
		return err
	}
	return n.Listening(ctx)
}

// alive returns an error if the node has ended by itself.
func (n *Node) alive() error {
	select {
	case <-n.P.Done():
		return fmt.Errorf("%s has ended; its last lines: %s", n.Name, strings.Join(last(n.P.Lines(), 10), "\n"))
	default:
		return nil
	}
}

func (n *Node) close() error {
	n.P.Kill()
	return n.log.Close()
}

func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
