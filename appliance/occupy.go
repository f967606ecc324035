package appliance

import (
	"errors"
	"os"

	"tamv.internal/tamv/tap"
)

// CodeInUse is the code of a folder that another process works on; the kind is
// Unavailable.
const CodeInUse = "folder_in_use"

// errOccupied is what lock says of a folder that is taken.
var errOccupied = errors.New("taken")

// Occupy makes this process the only one that works on a folder, until it calls
// release or ends, however it ends. Nothing is written for it. A second process
// would find settings that are about to change, and change them itself, long before
// it met the lock on state.db. Where the system cannot lock a folder, that one
// remains.
func Occupy(folder string) (release func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, tap.Wrap("appliance.occupy", tap.Unavailable, err, "the data folder %s cannot be opened", folder)
	}
	if err := lock(f); errors.Is(err, errOccupied) {
		_ = f.Close()
		return nil, tap.E("appliance.occupy", tap.Unavailable, "the data folder %s is in use: another tamvd works on it", folder).WithCode(CodeInUse)
	}
	return func() { _ = f.Close() }, nil // the lock goes with the file
}
