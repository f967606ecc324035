// Package weights carries the trained weights of the engines inside the binary.
// PROVENANCE.md beside them names the sources, their licences, the command that
// trained them and their digests; a test holds it to the files.
package weights

import _ "embed"

// Static is read by model/static.
//
//go:embed static.bin
var Static []byte

// Audit is read by model/linear.
//
//go:embed audit.bin
var Audit []byte
