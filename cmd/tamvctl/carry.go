package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tamv.internal/tamv/cmd/tamvctl/courier"
	"tamv.internal/tamv/tap"
)

// codeFrames is for pictures that do not make a file: frames are missing, or of two.
const codeFrames = "frames"

// carriedFile is a file that a courier brought, as it is or as pictures.
type carriedFile struct {
	name string
	data []byte
}

// carried reads files of the command line, and those in its folders. Those that are
// pictures are together one file more, which comes last.
func (a *app) carried(names []string, what tap.Text) ([]carriedFile, error) {
	var files []carriedFile
	var frames courier.Collector
	pictures := 0
	names, err := a.inFolders(names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		raw, err := a.readFile(name)
		if err != nil {
			return nil, err
		}
		if !courier.IsPicture(raw) {
			files = append(files, carriedFile{name, raw})
			continue
		}
		pictures++
		texts, err := courier.Read(raw)
		if err != nil {
			return nil, frameError(name, err)
		}
		for _, text := range texts {
			if err := frames.Add(text); err != nil {
				return nil, frameError(name, err)
			}
		}
	}
	if pictures > 0 {
		data, err := frames.Data()
		if err != nil {
			return nil, frameError(what.In(a.lang), err)
		}
		files = append(files, carriedFile{what.In(a.lang), data})
	}
	return files, nil
}

// inFolders puts the files of a folder in its place.
func (a *app) inFolders(names []string) (all []string, err error) {
	for _, name := range names {
		if info, err := os.Stat(a.path(name)); err != nil || !info.IsDir() {
			all = append(all, name)
			continue
		}
		inside, err := os.ReadDir(a.path(name))
		if err != nil {
			return nil, fileError(err)
		}
		for _, f := range inside {
			if f.Type().IsRegular() {
				all = append(all, filepath.Join(name, f.Name()))
			}
		}
	}
	return all, nil
}

// frameError names the picture and, where frames are missing, which.
func frameError(name string, err error) error {
	e := tap.E("tamvctl.frames", tap.Invalid, "%s: %v", name, err).WithCode(codeFrames)
	var missing *courier.MissingError
	if errors.As(err, &missing) && missing.Total > 0 {
		e.WithDetail("missing", fmt.Sprint(missing.Numbers)).WithDetail("total", missing.Total)
	}
	return e
}

// drawFrames draws a file as QR codes: on the terminal for "-", else as pictures in a
// folder, which is made.
func (a *app) drawFrames(data []byte, place string) error {
	perFrame := courier.PictureBytes
	if place == "-" {
		perFrame = courier.TerminalBytes
	}
	frames, err := courier.Split(data, perFrame)
	if err != nil {
		return frameError(place, err)
	}
	if place == "-" {
		for i, frame := range frames {
			fmt.Fprintf(a.out, "%d/%d\n", i+1, len(frames))
			if err := courier.Terminal(a.out, frame); err != nil {
				return frameError(place, err)
			}
		}
		return nil
	}
	folder := a.path(place)
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fileError(err)
	}
	for i, frame := range frames {
		picture, err := courier.PNG(frame)
		if err != nil {
			return frameError(place, err)
		}
		if err := writeFile(filepath.Join(folder, fmt.Sprintf("frame-%03d.png", i+1)), picture); err != nil {
			return err
		}
	}
	if a.output == asTable {
		fmt.Fprintf(a.errOut, textFramesDrawn.In(a.lang)+"\n", len(frames), place)
	}
	return nil
}
