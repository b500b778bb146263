package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

func newFlareOpen() *cobra.Command {
	var folder string
	var salvage bool
	c := flareCommand{
		use: "open -C FOLDER", short: "Verify flares and write out what they hold",
		long: `Verifies flares as recovery does and writes the files of every good one to
FOLDER/<flare id>/: manifest.json, manifest.json.sig and the records. Nothing is
written of a flare that is not good, no file is overwritten, and the flares stay.
One that cannot be written does not keep the others back.

With --salvage a damaged flare is opened, too, if its manifest is good: the records
in front of the damage are written, each verified by its hash. The manifest says
what is missing; such a flare still counts as one that is not written.

Send the records of one signal to a gateway with
  curl -fsS --data-binary @FILE -H 'Content-Encoding: zstd' \
    -H 'Content-Type: application/x-protobuf' http://gateway:4318/v1/traces`,
		needsKey: true, needsTrust: true,
		run: func(c *cobra.Command, d *desk, items []item, asJSON bool) (err error) {
			if folder == "" {
				return usagef("-C is missing: name the folder to write to")
			}
			root, err := os.OpenRoot(folder)
			if err != nil {
				return fmt.Errorf("-C: %w; make the folder first", err)
			}
			defer func() { err = errors.Join(err, root.Close()) }()
			d.salvage = salvage
			return tally(c, items, "written", func(ctx context.Context, it item) (bool, error) {
				r, f := d.verify(ctx, it)
				if f != nil {
					if err := extract(root, it.id, f); err != nil {
						r.State, r.Error = stateNotWritten, err.Error()
					}
				}
				return r.State == stateGood, printResult(c, &r, asJSON)
			})
		},
	}.build()
	c.Flags().BoolVar(&salvage, "salvage", false, "also write the sound records of damaged flares")
	c.Flags().StringVarP(&folder, "directory", "C", "", "folder to write to; it must exist")
	return c
}

// extract writes a verified flare into a new folder of root. The names are the
// format's own, and root keeps even a wrong one inside.
// A folder that cannot be completed is removed.
func extract(root *os.Root, id string, f *flare.Flare) error {
	if err := root.Mkdir(id, 0o700); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := fill(root, id, f); err != nil {
		return fmt.Errorf("write: %w", errors.Join(err, root.RemoveAll(id)))
	}
	return nil
}

func fill(root *os.Root, folder string, f *flare.Flare) error {
	files := map[string]func(*os.File) error{
		"manifest.json":     write(f.RawManifest),
		"manifest.json.sig": write(f.RawSignature),
	}
	for i, frame := range f.Frames { // of a damaged flare fewer than the manifest lists
		files[f.Manifest.Records[i].Name] = func(out *os.File) error {
			_, err := frame.Stored.WriteTo(out)
			return err
		}
	}
	for name, content := range files {
		out, err := root.OpenFile(filepath.Join(folder, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(content(out), out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func write(content []byte) func(*os.File) error {
	return func(out *os.File) error {
		_, err := out.Write(content)
		return err
	}
}
