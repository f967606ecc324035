package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tamv.internal/tamv/tap"
)

// Plain says what an error is about to somebody who never saw a Go program:
// messages without the names of packages, and the reasons of the operating system,
// of TLS and of parsers in words. What it does not know stays as it is.
func Plain(err error) string {
	// Not errors.As: what wraps a cause adds its own part to the words, so that the
	// chain is gone down a link at a time.
	switch e := err.(type) {
	case *tap.Error:
		if e.Err == nil {
			return e.Message
		}
		cause := Plain(withoutPath(e.Message, e.Err))
		if strings.Contains(e.Message, cause) {
			return e.Message
		}
		return e.Message + ": " + cause
	case interface{ Unwrap() []error }:
		var all []string
		for _, one := range e.Unwrap() {
			all = append(all, Plain(one))
		}
		return strings.Join(all, "; ")
	case *fs.PathError:
		return e.Path + ": " + Plain(e.Err)
	case *os.LinkError:
		return e.New + ": " + Plain(e.Err)
	case *os.SyscallError:
		return Plain(e.Err)
	case *url.Error:
		cause := Plain(e.Err)
		if u, parseErr := url.Parse(e.URL); parseErr == nil && !strings.Contains(cause, u.Host) {
			return u.Host + ": " + cause
		}
		return cause
	case *net.OpError:
		if e.Addr != nil && e.Op == "dial" {
			return e.Addr.String() + ": " + Plain(e.Err)
		}
		return Plain(e.Err)
	}
	if words := reason(err); words != "" {
		return words
	}
	return err.Error()
}

// withoutPath leaves the name of a file out of the cause when the message names it,
// or its folder, already.
func withoutPath(message string, cause error) error {
	var path string
	var inner error
	switch e := cause.(type) { // not errors.As: what lies deeper has a path that was not named
	case *fs.PathError:
		path, inner = e.Path, e.Err
	case *os.LinkError:
		path, inner = e.New, e.Err
	default:
		return cause
	}
	if strings.Contains(message, path) || strings.Contains(message, filepath.Dir(path)) {
		return inner
	}
	return cause
}

// reasons are the operating system's.
var reasons = map[syscall.Errno]string{
	syscall.ENOENT:        "there is no such file or folder",
	syscall.EACCES:        "no permission",
	syscall.EPERM:         "no permission",
	syscall.EEXIST:        "it exists already",
	syscall.EISDIR:        "it is a folder",
	syscall.ENOTDIR:       "a part of the path is no folder",
	syscall.ENOSPC:        "no space is left on the disk",
	syscall.EDQUOT:        "the quota of the disk is used up",
	syscall.EROFS:         "the file system is read-only",
	syscall.ENOMEM:        "there is not enough memory",
	syscall.EMFILE:        "too many files are open",
	syscall.ENFILE:        "too many files are open",
	syscall.EPIPE:         "the reader has gone",
	syscall.ECONNREFUSED:  "nothing listens there",
	syscall.ECONNRESET:    "the other side broke the connection",
	syscall.EADDRINUSE:    "the address is in use",
	syscall.EADDRNOTAVAIL: "this machine does not have that address",
	syscall.EHOSTUNREACH:  "there is no way to that machine",
	syscall.ENETUNREACH:   "there is no way to that network",
	syscall.ETIMEDOUT:     "no answer in time",
}

// reason is an error in words; empty when it is none of those that are known.
func reason(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		if words, ok := reasons[number]; ok {
			return words
		}
	}
	var timeout net.Error
	var name *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "it was ended before it was done"
	case errors.Is(err, net.ErrClosed):
		return "the connection was closed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	case errors.As(err, &name):
		return fmt.Sprintf("no machine of the name %s is known", name.Name)
	}
	if words := handshake(err); words != "" {
		return words
	}
	return parsed(err)
}

// handshake is what TLS and certificates complain about.
func handshake(err error) string {
	var (
		stranger x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		alert    tls.AlertError
	)
	switch {
	case errors.As(err, &stranger):
		return "its certificate is from another authority"
	case errors.As(err, &host):
		return "its certificate is for other names than " + host.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid at this time; is this machine's clock right?"
	case errors.As(err, &record):
		return "what answers there does not speak TLS"
	case errors.As(err, &alert):
		return "it refused the connection: " + strings.TrimPrefix(alert.Error(), "tls: ")
	}
	return ""
}

// parsed is what the JSON parser complains about.
func parsed(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is not JSON from byte %d on", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("the field %q cannot be a %s", kind.Field, kind.Value)
	case errors.As(err, &kind):
		return fmt.Sprintf("it is a %s, not what is expected here", kind.Value)
	}
	return ""
}
