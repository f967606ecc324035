package podtest

import (
	"errors"
	"testing"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// ErrUnreadable is the cause of a [Flaky] view's failures.
var ErrUnreadable = errors.New("podtest: the view fails on purpose")

// Flaky is a view whose reads fail once Good of them have succeeded.
type Flaky struct {
	store.View
	Good int
}

// FailEveryRead calls run with views that fail at its first read, at its second,
// and so on until it succeeds: the failure of every read must be its error.
func FailEveryRead(t testing.TB, name string, view store.View, run func(store.View) error) {
	t.Helper()
	for good := 0; ; good++ {
		switch err := run(&Flaky{View: view, Good: good}); {
		case err == nil && good == 0:
			t.Errorf("%s reads nothing", name)
			return
		case err == nil:
			return
		case !errors.Is(err, ErrUnreadable):
			t.Fatalf("%s after %d reads: %v", name, good, err)
		}
	}
}

func (f *Flaky) fail() error {
	if f.Good--; f.Good < 0 {
		return tap.Wrap("podtest.view", tap.Internal, ErrUnreadable, "the state cannot be read")
	}
	return nil
}

// Get fails or reads.
func (f *Flaky) Get(k store.Key) (store.Item, bool, error) {
	if err := f.fail(); err != nil {
		return store.Item{}, false, err
	}
	return f.View.Get(k)
}

// Scan fails or reads.
func (f *Flaky) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.View.Scan(prefix, from, fn)
}

// Counter fails or reads.
func (f *Flaky) Counter(k store.Key) (int64, error) {
	if err := f.fail(); err != nil {
		return 0, err
	}
	return f.View.Counter(k)
}

// Sequence fails or reads.
func (f *Flaky) Sequence(k store.Key, first uint64, fn func(uint64, []byte) bool) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.View.Sequence(k, first, fn)
}

// SequenceLast fails or reads.
func (f *Flaky) SequenceLast(k store.Key) (uint64, error) {
	if err := f.fail(); err != nil {
		return 0, err
	}
	return f.View.SequenceLast(k)
}

// Balance fails or reads.
func (f *Flaky) Balance(account store.Key, currency string) (store.Amount, error) {
	if err := f.fail(); err != nil {
		return store.Amount{}, err
	}
	return f.View.Balance(account, currency)
}
