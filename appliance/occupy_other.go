//go:build !unix

package appliance

import "os"

func lock(*os.File) error { return nil }
