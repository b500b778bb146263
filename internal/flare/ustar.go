package flare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The archive is the smallest part of POSIX ustar: regular files of mode 0644,
// owner 0, time 0, no prefix, no extension of any kind. So a header has one
// spelling for a name and a size, and a reader never parses one: it encodes what
// it expects and compares. That closes the door on everything tar can do.
const block = 512

const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.sig"
	paddingName   = "padding"
	endOfArchive  = 2 * block
)

// ustarHeader returns the header of a file, as POSIX.1-1988 lays it out.
func ustarHeader(name string, size int64) (h [block]byte) {
	copy(h[0:100], name)
	copy(h[100:], "0000644\x00") // mode
	copy(h[108:], "0000000\x00") // uid
	copy(h[116:], "0000000\x00") // gid
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00") // mtime
	copy(h[148:], "        ")        // the checksum counts as blanks
	h[156] = '0'                     // regular file
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00") // device numbers
	copy(h[337:], "0000000\x00")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// roundUp returns n rounded up to whole blocks.
func roundUp(n int64) int64 { return (n + block - 1) &^ (block - 1) }

// entrySize returns the bytes an entry of size bytes takes in the archive.
func entrySize(size int64) int64 { return block + roundUp(size) }

// paddingSize returns the size of the padding entry behind entries of n bytes
// in all: the archive then has a Padme size.
func paddingSize(n int64) int64 {
	bare := n + block + endOfArchive
	return padme(bare) - bare
}

var zeros [16 * block]byte

func writeZeros(w io.Writer, n int64) error {
	for n > 0 {
		k, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

// writeEntry writes one file; body must write exactly size bytes.
func writeEntry(w io.Writer, name string, size int64, body io.WriterTo) error {
	h := ustarHeader(name, size)
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	n, err := body.WriteTo(w)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%s: wrote %d bytes instead of %d", name, n, size)
	}
	return writeZeros(w, roundUp(size)-size)
}

var (
	errArchive = errors.New("not the strict ustar archive of a flare")
	errCutOff  = errors.New("more bytes than there are") // in what there is of the object
)

// ustarReader reads an archive whose entries are known in advance.
type ustarReader struct {
	r     io.Reader
	max   int64 // bytes the whole archive can have at most
	block [block]byte
	n     int64 // bytes read
}

// small reads the entry called name, whose size only its header tells, whole.
func (t *ustarReader) small(name string, limit int64) ([]byte, error) {
	if err := t.readBlock(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var size int64
	for _, c := range t.block[124:135] {
		if c < '0' || c > '7' {
			return nil, fmt.Errorf("%w: %s: size", errArchive, name)
		}
		size = size<<3 | int64(c-'0')
	}
	if t.block != ustarHeader(name, size) {
		return nil, fmt.Errorf("%w: header of %s", errArchive, name)
	}
	if size < 1 || size > limit {
		return nil, fmt.Errorf("%s has %d bytes: must be 1 to %d", name, size, limit)
	}
	return t.body(name, size)
}

// file reads the entry called name, which must have size bytes.
func (t *ustarReader) file(name string, size int64) ([]byte, error) {
	if err := t.header(name, size); err != nil {
		return nil, err
	}
	return t.body(name, size)
}

func (t *ustarReader) header(name string, size int64) error {
	if err := t.readBlock(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if t.block != ustarHeader(name, size) {
		return fmt.Errorf("%w: header of %s", errArchive, name)
	}
	return nil
}

func (t *ustarReader) body(name string, size int64) ([]byte, error) {
	if size > t.max-t.n { // a size is only a claim: no memory for what cannot come
		return nil, fmt.Errorf("%s: %w", name, errCutOff)
	}
	body := make([]byte, size)
	n, err := io.ReadFull(t.r, body)
	if t.n += int64(n); err != nil {
		return nil, fmt.Errorf("%s: %w", name, noEOF(err))
	}
	if err := t.zeros(roundUp(size) - size); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return body, nil
}

// zeros reads n bytes, all of which must be zero.
func (t *ustarReader) zeros(n int64) error {
	for n > 0 {
		part := t.block[:min(n, block)]
		if _, err := io.ReadFull(t.r, part); err != nil {
			return noEOF(err)
		}
		if !bytes.Equal(part, zeros[:len(part)]) {
			return fmt.Errorf("%w: padding is not zero", errArchive)
		}
		n -= int64(len(part))
		t.n += int64(len(part))
	}
	return nil
}

// end reads the padding, the end of the archive and the end of the file.
func (t *ustarReader) end() error {
	size := paddingSize(t.n)
	if err := t.header(paddingName, size); err != nil {
		return err
	}
	if err := t.zeros(size + endOfArchive); err != nil {
		return fmt.Errorf("end of the archive: %w", err)
	}
	// Only the end of the stream proves that nothing was cut off or added.
	n, err := io.ReadFull(t.r, t.block[:1])
	if n != 0 {
		return fmt.Errorf("%w: bytes behind the end", errArchive)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("end of the file: %w", err)
	}
	return nil
}

func (t *ustarReader) readBlock() error {
	n, err := io.ReadFull(t.r, t.block[:])
	t.n += int64(n)
	return noEOF(err)
}

// noEOF keeps a clean end of the stream in the middle of the archive from being
// taken for the end of the archive.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
