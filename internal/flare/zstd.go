package flare

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// checkStored verifies what can be seen of a record without decoding it: that
// it begins as a zstd frame which a decoder of bounded memory takes and which
// does not contradict the manifest. A record that was damaged before it was
// signed is not looked for: whoever takes the others finds that one.
func checkStored(stored []byte, rawSize int64) error {
	var h zstd.Header
	if err := h.Decode(stored[:min(len(stored), zstd.HeaderMaxSize)]); err != nil || h.Skippable {
		return errors.New("not a zstd frame")
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	switch {
	case h.DictionaryID != 0:
		return errors.New("a zstd frame with a dictionary")
	case window > maxWindow:
		return fmt.Errorf("a zstd frame with a window of %d bytes, more than %d", window, maxWindow)
	case h.HasFCS && h.FrameContentSize != uint64(rawSize): //nolint:gosec // 1 to MaxRawSize
		return fmt.Errorf("a zstd frame of %d bytes, not raw_size %d", h.FrameContentSize, rawSize)
	}
	return nil
}
