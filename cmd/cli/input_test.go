package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestInputIsWhatIsRead(t *testing.T) {
	text := strings.Repeat("a line\n", 100_000)
	got, err := io.ReadAll(Input(t.Context(), strings.NewReader(text)))
	if err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	odd := errors.New("odd")
	if _, err := io.ReadAll(Input(t.Context(), iotest.ErrReader(odd))); !errors.Is(err, odd) {
		t.Errorf("%v", err)
	}
}

func TestInputEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent, writer := io.Pipe() // nobody ever writes
	defer writer.Close()
	ended := make(chan error, 1)
	in := Input(ctx, silent)
	go func() {
		_, err := in.Read(make([]byte, 1))
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Nothing is taken from who comes after, unless it is asked for.
func TestInputReadsNothingUnasked(t *testing.T) {
	r := strings.NewReader("for somebody else")
	Input(t.Context(), r)
	if r.Len() != len("for somebody else") {
		t.Error("it was read")
	}
}
