//go:build !linux

package main

import "syscall"

// detached has nothing to say where a child cannot be tied to its parent.
func detached() *syscall.SysProcAttr { return nil }
