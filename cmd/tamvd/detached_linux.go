package main

import "syscall"

// detached keeps the terminal's Ctrl-C from a child, which its parent stops in
// order, and ends it should the parent be killed.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
