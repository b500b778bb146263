//go:build !linux

package proc

import (
	"errors"
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

var errOnlyLinux = errors.New("only Linux tells what a process costs")

// CPU fails here.
func (p *Process) CPU() (time.Duration, error) { return 0, errOnlyLinux }

// PeakRSS fails here.
func (p *Process) PeakRSS() (int64, error) { return 0, errOnlyLinux }

// RSS fails here.
func (p *Process) RSS() (int64, error) { return 0, errOnlyLinux }

// Limit fails here.
func (p *Process) Limit(float64) (end func(), err error) { return nil, errOnlyLinux }
