package keyring

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// wakeWiper has what is forgotten overwritten soon. The caller holds mu.
func (r *Ring) wakeWiper() {
	if len(r.wiping) > 0 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// wiper overwrites what was forgotten until the ring is closed.
func (r *Ring) wiper() {
	defer close(r.done)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-r.wake:
		case <-again.C:
		case <-r.stop:
			return
		}
		if err := r.Flush(); err != nil {
			r.log.Error("keys that were destroyed could not be overwritten; trying again", "error", err)
			again.Reset(wipeAgain)
		}
	}
}

// Flush overwrites now what is forgotten, and returns when that is durable.
func (r *Ring) Flush() error {
	r.disk.Lock()
	defer r.disk.Unlock()
	r.mu.RLock()
	slots := map[Kind][]uint64{}
	count := len(r.wiping)
	for _, at := range r.wiping {
		slots[at.kind] = append(slots[at.kind], at.slot)
	}
	r.mu.RUnlock()
	wiped := map[Kind]bool{}
	var errs []error
	for kind, f := range r.files {
		err := f.wipe(slots[kind])
		wiped[kind], errs = err == nil, append(errs, err)
	}
	err := errors.Join(errs...)
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.Clone(r.wiping[count:]) // forgotten meanwhile
	for _, at := range r.wiping[:count] {
		if !wiped[at.kind] {
			left = append(left, at)
		}
	}
	slices.SortFunc(left, func(a, b place) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.slot, b.slot)) })
	r.wiping, r.wipeErr = left, err
	return err
}

// Close overwrites what is forgotten and closes the files.
func (r *Ring) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	close(r.stop)
	<-r.done
	err := r.Flush()
	r.disk.Lock()
	defer r.disk.Unlock()
	return errors.Join(err, r.closeFiles())
}

// closeFiles needs disk.
func (r *Ring) closeFiles() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.file.Close())
	}
	clear(r.files)
	return errors.Join(errs...)
}
