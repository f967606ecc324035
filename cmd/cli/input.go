package cli

import (
	"context"
	"io"
	"sync"
)

// Input is standard input that ends with ctx: a person who is asked for something
// and presses Ctrl-C should not have to wait for their own answer. Nothing is read
// from r before the first Read. Whoever reads when ctx ends gets its error; a read
// of r that is under way is left behind.
func Input(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	return &input{ctx: ctx, r: r, in: in, out: out}
}

type input struct {
	ctx   context.Context // in a field, because Read has none and this is what ends it
	r     io.Reader
	in    *io.PipeWriter
	out   *io.PipeReader
	begun sync.Once
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	i.begun.Do(func() {
		context.AfterFunc(i.ctx, func() { i.in.CloseWithError(i.ctx.Err()) })
		go func() {
			_, err := io.Copy(i.in, i.r)
			i.in.CloseWithError(err) // nil is the end
		}()
	})
	return i.out.Read(p)
}
