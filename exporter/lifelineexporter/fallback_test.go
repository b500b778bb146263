package lifelineexporter

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/testdata"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// opener opens what the published keys sealed.
func opener(t *testing.T) *flare.Opener {
	read := func(name string) io.Reader { return bytes.NewReader(published(t, name)) }
	identities, err := flare.ParseIdentities(read("recovery_classic.key"))
	require.NoError(t, err)
	signers, err := flare.ParseAllowedSigners(read("allowed_signers"))
	require.NoError(t, err)
	return &flare.Opener{Identities: identities[:1], Signers: signers, Audience: "acme-prod", MaxAge: time.Hour}
}

// openAll opens everything in the store and returns the items per signal.
func openAll(t *testing.T, s *store) (map[frame.Signal]int64, []*flare.Flare) {
	items := map[frame.Signal]int64{}
	var flares []*flare.Flare
	for _, key := range s.keys() {
		id, ok := flare.KeyID("/acme-flares/f/", key)
		require.True(t, ok, key)
		f, err := opener(t).Open(flare.Object{ID: id, LastModified: time.Now()}, s.object(key))
		require.NoError(t, err)
		for _, fr := range f.Frames {
			raw, err := otlpcodec.Decompress(fr.Stored, fr.RawSize)
			require.NoError(t, err)
			n, err := otlpcodec.Count(fr.Signal, raw)
			require.NoError(t, err)
			require.Equal(t, fr.Header.Items, n)
			items[fr.Signal] += n
		}
		flares = append(flares, f)
	}
	return items, flares
}

// No gateway, and the host goes down: everything is in the bucket, and only the
// owner of the recovery key reads it.
func TestWhatTheGatewayDoesNotTakeIsFlaredAtShutdown(t *testing.T) {
	s := newStore(t)
	g := newGateway(t, unavailable)
	a := newAgent(t, g.URL, withFlare(s, keyDir(t)), func(cfg *Config) {
		cfg.Audience = "acme-prod"
		cfg.MetadataKeys = []string{"x-tenant"}
	}).start()
	require.NoError(t, a.traces.ConsumeTraces(t.Context(), testdata.GenerateTraces(4)))
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(6)))
	<-g.seen
	a.shutdown()

	items, flares := openAll(t, s)
	require.Equal(t, map[frame.Signal]int64{frame.Traces: 4, frame.Logs: 6}, items)
	require.Equal(t, "acme/host-17", flares[0].Principal)
	require.Equal(t, flare.Shutdown, flares[0].Manifest.Reason)
	sc := a.scrape()
	require.EqualValues(t, 4, sc["lifeline_flared_items{reason=shutdown,signal=traces}"], "%v", sc)
	require.EqualValues(t, 6, sc["lifeline_flared_items{reason=shutdown,signal=logs}"])
	require.EqualValues(t, 6, sc.conserves(t, "logs"))
	require.EqualValues(t, len(flares), sc["lifeline_flares{outcome=stored,reason=shutdown}"])
	require.EqualValues(t, len(flares), sc["lifeline_flare_size"])
	require.Len(t, a.log.FilterMessageSnippet("flare was stored").All(), len(flares))

	// Nothing on the object or in its request says who sent it.
	for _, header := range s.headers {
		require.Equal(t, "*", header.Get("If-None-Match"))
		require.NotEmpty(t, header.Get("X-Amz-Checksum-Sha256"))
		known := []string{
			"If-None-Match", "X-Amz-Checksum-Sha256", "X-Amz-Content-Sha256", "X-Amz-Date", "Authorization",
			"Content-Length", "User-Agent", "Accept-Encoding",
		}
		for name := range header {
			require.Contains(t, known, name)
		}
	}
}

// The same path while the agent lives on: max_age is what starts it.
func TestWhatGetsOldIsFlared(t *testing.T) {
	s := newStore(t)
	g := newGateway(t, parked)
	a := newAgent(t, g.URL, withFlare(s, keyDir(t)), func(cfg *Config) {
		cfg.Audience, cfg.Ring.MaxAge = "acme-prod", time.Second
	}).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	a.hears("The gateway does not take data.")
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(3)))
	var sc scrape
	for sc["lifeline_flared_items{reason=expired,signal=logs}"] < 4 { // one flare or two
		a.hears("flare was stored")
		sc = a.scrape()
	}
	require.EqualValues(t, 4, sc.conserves(t, "logs"))
	items, flares := openAll(t, s)
	require.Equal(t, map[frame.Signal]int64{frame.Logs: 4}, items)
	for _, f := range flares {
		require.Equal(t, flare.Expired, f.Manifest.Reason)
		if f.Manifest.Totals["logs"].Items >= 3 { // sealed after an attempt had failed
			require.Positive(t, f.Manifest.Report.Causes["not_an_ack"])
		}
	}
	a.shutdown()
	require.EqualValues(t, 4, a.scrape().conserves(t, "logs"))
}

// A drill takes the way of a flare, next to a gateway that is well.
func TestADrillIsStored(t *testing.T) {
	s := newStore(t)
	a := newAgent(t, newGateway(t, ack).URL, withFlare(s, keyDir(t)), func(cfg *Config) {
		flareCfg := *cfg.Flare.Get()
		flareCfg.DrillInterval = time.Second
		cfg.Flare = configoptional.Some(flareCfg)
		cfg.Audience, cfg.Ring.MaxAge = "acme-prod", time.Second
	}).start()
	a.hears("A drill was stored")
	a.shutdown()
	items, flares := openAll(t, s)
	require.Equal(t, map[frame.Signal]int64{frame.Logs: int64(len(flares))}, items)
	for _, f := range flares {
		require.Equal(t, flare.Drill, f.Manifest.Reason)
	}
	sc := a.scrape()
	stored := sc["lifeline_flares{outcome=stored,reason=drill}"]
	require.Positive(t, stored)
	require.LessOrEqual(t, stored, int64(len(flares)), "the end may have cut one off that was there already")
	require.InDelta(t, time.Now().Unix(), sc["lifeline_drill_last_put"], 600)
	require.Zero(t, sc.conserves(t, "logs"))
	require.Zero(t, sc["exporter_sent_log_records"]+sc["exporter_send_failed_log_records"])
	require.Empty(t, a.log.FilterMessageSnippet("flare was stored").All(), "an alert on that is no drill's")
}

// G11: a broken fallback is an alarm. The way to the gateway does not mind, and
// the repair is noticed without a restart.
func TestABrokenKeyFileIsAnAlarmAndNotACrash(t *testing.T) {
	for _, test := range []struct{ name, file, text, key, remedy string }{
		{"no recipients", "recipients.txt", "", "flare::recipients_file", "lifeline keygen recovery"},
		{"one recipient", "recipients.txt", "age1nzjk5eq4m95zsv4uwzeauaquyjegz99fetj3m3w594x76y94hy5smgw54c\n", "flare::recipients_file", "allow_single_recipient"},
		{"a secret key", "recipients.txt", "AGE-SECRET-KEY-1XXX\n", "flare::recipients_file", "public key"},
		{"missing recipients", "recipients.txt", "missing", "flare::recipients_file", "check the path"},
		{"garbage key", "agent_ed25519", "garbage", "flare::signing_key_file", "lifeline keygen agent"},
		{"missing key", "agent_ed25519", "missing", "flare::signing_key_file", "check the path"},
		{"foreign certificate", "agent_ed25519-cert.pub", string(published(t, "certified_ed25519-cert.pub")), "flare::signing_key_file", "not of this signing key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, dir := newStore(t), keyDir(t)
			path := filepath.Join(dir, test.file)
			before, err := os.ReadFile(path) //nolint:gosec // a temporary directory
			if test.text == "missing" {
				require.NoError(t, os.Remove(path))
			} else {
				put(t, path, []byte(test.text))
			}
			g := newGateway(t, ack)
			a := newAgent(t, g.URL, withFlare(s, dir)).start()
			event := a.host.next()
			require.Equal(t, componentstatus.StatusRecoverableError, event.Status())
			require.ErrorContains(t, event.Err(), test.key)
			require.ErrorContains(t, event.Err(), test.remedy)
			a.hears("key files of the fallback are not usable")
			require.Len(t, a.log.FilterMessageSnippet("key files of the fallback are not usable").All(), 1)
			ready, found := a.scrape()["lifeline_flare_ready"]
			require.True(t, found)
			require.Zero(t, ready)
			require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
			<-g.seen

			if err != nil {
				require.NoError(t, os.Remove(path))
			} else {
				put(t, path, before)
			}
			a.core().running.fallback.check(t.Context())
			require.Equal(t, componentstatus.StatusOK, a.host.next().Status())
			require.EqualValues(t, 1, a.scrape()["lifeline_flare_ready"])
			a.shutdown()
			require.EqualValues(t, 1, a.scrape()["lifeline_delivered_items{signal=logs}"])
		})
	}
}

func TestABucketThatRefusesIsAnAlarm(t *testing.T) {
	s := newStore(t)
	s.setRefuse(true)
	a := newAgent(t, newGateway(t, ack).URL, withFlare(s, keyDir(t))).start()
	event := a.host.next()
	require.Equal(t, componentstatus.StatusRecoverableError, event.Status())
	require.ErrorContains(t, event.Err(), "flare::buckets: acme-flares/f/")
	require.ErrorContains(t, event.Err(), "credentials")
	require.Zero(t, a.scrape()["lifeline_flare_ready"])
	s.setRefuse(false)
	a.core().running.fallback.check(t.Context())
	require.Equal(t, componentstatus.StatusOK, a.host.next().Status())
	require.EqualValues(t, 1, a.scrape()["lifeline_flare_ready"])
}

// Credentials that were good can be revoked: only a PUT shows that.
func TestAPutThatIsRefusedIsNotReady(t *testing.T) {
	s := newStore(t)
	g := newGateway(t, unavailable)
	a := newAgent(t, g.URL, withFlare(s, keyDir(t)), func(cfg *Config) { cfg.Ring.MaxAge = time.Second }).start()
	a.core().running.fallback.check(t.Context())
	require.EqualValues(t, 1, a.scrape()["lifeline_flare_ready"])
	s.setRefuse(true)
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	a.hears("bucket does not take flares")
	sc := a.scrape()
	require.Zero(t, sc["lifeline_flare_ready"])
	require.EqualValues(t, 1, sc["lifeline_held_items{signal=logs}"], "kept: max_age loses nothing by itself")
	g.say(ack)
	a.shutdown()
	require.EqualValues(t, 1, a.scrape()["lifeline_delivered_items{signal=logs}"])
}

// A new version of a key file counts when it works, and the old keys seal until
// it does.
func TestNewKeysCountWhenTheyWork(t *testing.T) {
	dir := keyDir(t)
	cfg := &FlareConfig{RecipientsFile: filepath.Join(dir, "recipients.txt"), SigningKeyFile: filepath.Join(dir, "agent_ed25519")}
	k := newKeys(cfg)
	first, err := k.Get()
	require.NoError(t, err)
	again, err := k.Get()
	require.NoError(t, err)
	require.Same(t, first, again, "read once")

	put(t, cfg.RecipientsFile, []byte("half a fi"))
	require.Error(t, k.Check())
	still, err := k.Get()
	require.NoError(t, err)
	require.Same(t, first, still)

	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	text := slices.Concat(published(t, "recipients_classic.txt"), []byte(identity.Recipient().String()+"\n"))
	put(t, cfg.RecipientsFile, text)
	require.NoError(t, k.Check())
	second, err := k.Get()
	require.NoError(t, err)
	require.Len(t, second.Recipients, 3)
}

// Files that do not work are read again although their times and sizes are the same:
// a right to read them that comes later changes neither.
func TestKeysThatDoNotWorkAreLookedAtAgain(t *testing.T) {
	dir := keyDir(t)
	cfg := &FlareConfig{RecipientsFile: filepath.Join(dir, "recipients.txt"), SigningKeyFile: filepath.Join(dir, "agent_ed25519")}
	k := newKeys(cfg)
	good := published(t, "recipients_classic.txt")
	require.NoError(t, os.WriteFile(cfg.RecipientsFile, bytes.Repeat([]byte("x"), len(good)), 0o600))
	before, err := os.Stat(cfg.RecipientsFile)
	require.NoError(t, err)
	require.Error(t, k.Check())
	require.NoError(t, os.WriteFile(cfg.RecipientsFile, good, 0o600))
	require.NoError(t, os.Chtimes(cfg.RecipientsFile, time.Time{}, before.ModTime()))
	require.NoError(t, k.Check())
	_, err = k.Get()
	require.NoError(t, err)
}

func TestTheCertificateNamesTheAgent(t *testing.T) {
	dir := keyDir(t)
	for _, suffix := range []string{"", "-cert.pub"} {
		put(t, filepath.Join(dir, "agent_ed25519"+suffix), published(t, "certified_ed25519"+suffix))
	}
	s := newStore(t)
	g := newGateway(t, ack)
	a := newAgent(t, g.URL, withFlare(s, dir), func(cfg *Config) { cfg.Agent = "" }).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	header, err := frame.ParseHeader((<-g.seen).Get(frame.HeaderFrame))
	require.NoError(t, err)
	require.Equal(t, "initech/web-1", header.Agent)
	require.Positive(t, a.scrape()["lifeline_signing_not_after"])
}

func TestWithoutNameAndCertificateTheHostIsTheAgent(t *testing.T) {
	g := newGateway(t, ack)
	a := newAgent(t, g.URL, func(cfg *Config) { cfg.Agent = "" }).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	header, err := frame.ParseHeader((<-g.seen).Get(frame.HeaderFrame))
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, header.Agent)
}

// A bounded ring at full speed into the fallback: nothing is lost.
func TestAFullRingIsFlared(t *testing.T) {
	s := newStore(t)
	g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	a := newAgent(t, g.URL, withFlare(s, keyDir(t)), func(cfg *Config) {
		cfg.Audience = "acme-prod"
		cfg.Ring.Capacity, cfg.Frame.MaxSize, cfg.Ring.WhenFull = 2*bytesize.MiB, 32*bytesize.KiB, refuse
	}).start()
	var accepted int64
	for accepted < 1000 {
		if a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)) == nil {
			accepted++
		}
	}
	a.shutdown()
	items, _ := openAll(t, s)
	require.Equal(t, accepted, items[frame.Logs])
	sc := a.scrape()
	require.Equal(t, accepted, sc.conserves(t, "logs"))
	require.Positive(t, sc["lifeline_flared_items{reason=ring_full,signal=logs}"], "%v", sc)
}
