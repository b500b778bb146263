package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// deployment is what init makes: the JSON of --json.
type deployment struct {
	Folder string       `json:"folder"`
	Files  []deployFile `json:"files"`
}

// deployFile is one of its files.
type deployFile struct {
	Name   string   `json:"name"`
	Secret bool     `json:"secret"`
	On     []string `json:"on,omitempty"` // where it is needed: agent, gateway, recovery or safe
	text   string
}

func secretFile(name, text string, on ...string) deployFile {
	return deployFile{name, true, on, text}
}

func publicFile(name, text string, on ...string) deployFile {
	return deployFile{name, false, on, text}
}

// write writes all files or none.
func (d *deployment) write() (err error) {
	made := os.Mkdir(d.Folder, 0o700) == nil
	defer func() {
		if err != nil && made {
			err = errors.Join(err, os.Remove(d.Folder))
		}
	}()
	there, err := os.ReadDir(d.Folder)
	if err != nil {
		return fmt.Errorf("%w: make the folder above it first", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty, and nothing is overwritten: name a new folder", d.Folder)
	}
	var all []file
	for _, f := range d.Files {
		mode := modePublic
		if f.Secret {
			mode = modeSecret
		}
		all = append(all, file{filepath.Join(d.Folder, f.Name), f.text, mode})
	}
	return writeFiles(all...)
}

// on lists the files that a place needs.
func (d *deployment) on(place string) string {
	var names []string
	for _, f := range d.Files {
		if slices.Contains(f.On, place) {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, "  ")
}

// nextSteps tells a person what goes where, and what only they can do.
func (d *deployment) nextSteps() string {
	return strings.NewReplacer(
		"FOLDER", d.Folder, "AGENT", d.on("agent"), "GATEWAY", d.on("gateway"), "RECOVERY", d.on("recovery"), "SAFE", d.on("safe"),
	).Replace(nextSteps)
}

const nextSteps = `FOLDER holds:

  every agent   AGENT
                (agent_ed25519: one for each host)
  gateways      GATEWAY
  recovery      RECOVERY
  a safe        SAFE, and nowhere else

Next:
  1. Make the bucket with the policies of deploy/policies, and put its keys into
     FOLDER/s3 (may only put) and FOLDER/s3-recovery.
  2. Make the topics otlp_spans, otlp_metrics and otlp_logs, with 3 replicas.
  3. lifeline check FOLDER/agent.yaml, and the same for gateway.yaml and recovery.yaml
  4. otelcol-lifeline --config FOLDER/gateway.yaml, then recovery, then the agent
  5. lifeline drill FOLDER/agent.yaml --recovery FOLDER/recovery.yaml

For every further host: lifeline keygen agent --output agent_ed25519 --principal TENANT/HOST
and append the line it prints to FOLDER/allowed_signers. For many: lifeline keygen ca --help`
