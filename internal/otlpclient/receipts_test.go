package otlpclient

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However many requests look at the receipt keys at the same time, what is told of
// them last is what was found last.
func TestReceiptKeysAreToldInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "receipts")
	var telling sync.Mutex
	var last error
	told := 0
	cfg := Config{ReceiptKeyFile: path, ReceiptKeys: func(broken error) {
		if !assert.True(t, telling.TryLock(), "told two things at the same time") {
			return
		}
		defer telling.Unlock()
		runtime.Gosched() // whoever could come in between does
		told++
		last = broken
	}}
	keys := cfg.receipts()
	keys.check()
	require.Error(t, last, "the file is not there yet")
	require.NoError(t, os.WriteFile(path, []byte("key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600))
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 100 {
				_, err := keys.get()
				assert.NoError(t, err)
			}
		})
	}
	senders.Wait()
	require.NoError(t, last)
	require.Equal(t, 801, told)
}
