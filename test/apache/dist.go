package apache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/otel-lifeline/lifeline/test/proc"
)

const clusterID = "4eET78pTTD6Ud5EyAKuOqA"

// dist is Kafka as it lies in a directory: its jars, and what was derived from
// them once because it makes every start faster.
type dist struct{ home string }

// prepare derives what is not there yet: the features of a new cluster, which
// every node wants in its data directory, and an archive of the classes that a
// node loads, which halves the time to start one.
func prepare(ctx context.Context, home string) (dist, error) {
	home, err := filepath.EvalSymlinks(home) // the archive remembers paths
	if err != nil {
		return dist{}, fmt.Errorf("the jars of Kafka are not there: run this with make test-kafka: %w", err)
	}
	d := dist{home}
	for file, make := range map[string]func(context.Context, string) error{d.checkpoint(): d.makeCheckpoint, d.archive(): d.makeArchive} {
		if _, err := os.Stat(file); err == nil {
			continue
		}
		dir, err := os.MkdirTemp("", "kafka-prepare-")
		if err != nil {
			return d, err
		}
		err = make(ctx, dir)
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d dist) checkpoint() string { return path(d.home, "bootstrap.checkpoint") }
func (d dist) archive() string    { return path(d.home, "kafka.jsa") }

// java is a command of the Java class main.
func (d dist) java(jvm []string, main string, args ...string) proc.Command {
	all := append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"}, jvm...)
	if _, err := os.Stat(d.archive()); err == nil {
		all = append(all, "-XX:SharedArchiveFile="+d.archive())
	}
	all = append(all, "-cp", path(d.home, "libs", "*"), main)
	java, err := exec.LookPath("java")
	if err != nil {
		java = "java" // the start will say so
	}
	return proc.Command{Name: main, Path: java, Args: append(all, args...), Env: os.Environ()}
}

// features puts the features of a new cluster into a data directory.
func (d dist) features(data string) error {
	content, err := os.ReadFile(d.checkpoint())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // only while they are being made
	} else if err != nil {
		return err
	}
	return os.WriteFile(path(data, "bootstrap.checkpoint"), content, 0o600) //nolint:gosec // the test's own directory
}

// makeCheckpoint lets Kafka's own tool format a directory and keeps what it wrote.
func (d dist) makeCheckpoint(ctx context.Context, dir string) error {
	s := setup{dist: d, combined: true, voter: "127.0.0.1:1", replicas: 1}
	properties := path(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(s.properties(1, "broker", "127.0.0.1:2", path(dir, "data"))), 0o600); err != nil {
		return err
	}
	p, err := proc.Start(d.java(nil, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", properties))
	if err != nil {
		return err
	}
	defer p.Kill()
	if err := p.Wait(ctx); err != nil {
		return err
	}
	content, err := os.ReadFile(path(dir, "data", "bootstrap.checkpoint"))
	if err != nil {
		return err
	}
	return os.WriteFile(d.checkpoint(), content, 0o600) //nolint:gosec // the caller's own directory
}

// makeArchive lets a node write down which classes it loaded.
func (d dist) makeArchive(ctx context.Context, dir string) error {
	addrs, err := proc.FreeAddrs(2)
	if err != nil {
		return err
	}
	s := setup{dist: d, dir: dir, combined: true, voter: addrs[1], replicas: 1, archive: true}
	n, err := s.start("b1", 1, "broker", addrs[0])
	if err != nil {
		return err
	}
	defer func() { _ = n.close() }()
	if err := n.Listening(ctx); err != nil {
		return err
	}
	err = n.P.Stop(ctx)
	if _, failed := os.Stat(d.archive()); failed != nil {
		return errors.Join(failed, err)
	}
	return nil // Java tells the signal that stopped it as its exit code
}
