package bookpi

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// The paths of a log, relative to its prefix: those of C2SP tlog-tiles, and a few of
// our own. A server answers them under /log/, a mirror keeps them as files below a
// folder, and [Audit] reads either.
//
//	checkpoint                     the newest signed checkpoint
//	tile/<L>/<N>[.p/<W>]           hashes of level L, see [Tile]
//	tile/entries/<N>[.p/<W>]       entries, see [AppendBundled]
//	payloads/<N>[.p/<W>]           their payloads, see [AppendPayload]
//	checkpoints                    sizes with a recorded checkpoint, see [ParseSizes]
//	checkpoints/<size>             one of them, signed
//	key, keys, policy              verifier keys, key history, suggested policy
//
// <L> is decimal. <N> is the index in groups of three digits, all but the last behind
// an x: 1234067 is x001/x234/067. <W> is the width of a partial tile or bundle, 1..255;
// a full one has 256 and no suffix. Each path has one spelling.
const (
	CheckpointPath  = "checkpoint"
	CheckpointsPath = "checkpoints"
	KeyPath         = "key"
	KeysPath        = "keys"
	PolicyPath      = "policy"

	tilePrefix     = "tile/"
	entriesPrefix  = "tile/entries/"
	payloadsPrefix = "payloads/"
	partialSuffix  = ".p/"

	// maxTileLevel is the highest level that a path may name (C2SP tlog-tiles). No tree
	// within MaxSize has tiles above level 7.
	maxTileLevel = 63
	// maxTileIndex is above every index a tile can have.
	maxTileIndex = MaxSize / TileWidth
	// maxIndexGroups is how many groups of three digits an index below maxTileIndex has.
	maxIndexGroups = 6
)

// ErrPath: text that is not the path of a tile or a bundle.
var ErrPath = errors.New("bookpi: malformed tile path")

// Tile names a tile of hashes (C2SP tlog-tiles): hashes Index*256 to Index*256+Width-1
// of its level. At level 0 they are leaf hashes, at level k the roots of complete
// subtrees of 256^k leaves, as [Tree.Append] emits them.
type Tile struct {
	Level uint8  // 0..63
	Index uint64 // within the level, below MaxSize/256
	Width int    // hashes, 1..256
}

// Path returns "tile/<L>/<N>" and, unless the tile is full, ".p/<W>".
func (t Tile) Path() string {
	return tilePrefix + strconv.Itoa(int(t.Level)) + "/" + indexPath(t.Index, t.Width)
}

// ParseTilePath reads what [Tile.Path] writes and nothing else. Errors wrap [ErrPath].
func ParseTilePath(path string) (Tile, error) {
	rest, ok := strings.CutPrefix(path, tilePrefix)
	level, rest, found := strings.Cut(rest, "/")
	if !ok || !found {
		return Tile{}, fmt.Errorf("%w: not tile/<level>/<index>", ErrPath)
	}
	l, err := parseDecimal(level)
	if err != nil || l > maxTileLevel {
		return Tile{}, fmt.Errorf("%w: malformed level", ErrPath)
	}
	index, width, err := parseIndexPath(rest)
	return Tile{uint8(l), index, width}, err
}

// EntriesPath returns the path of the entry bundle for entries index*256 to
// index*256+width-1: "tile/entries/<N>" and, unless it is full, ".p/<W>".
func EntriesPath(index uint64, width int) string { return entriesPrefix + indexPath(index, width) }

// ParseEntriesPath reads what [EntriesPath] writes and nothing else. Errors wrap
// [ErrPath].
func ParseEntriesPath(path string) (index uint64, width int, err error) {
	return parsePrefixedPath(path, entriesPrefix)
}

// PayloadsPath returns the path of the payloads that belong to [EntriesPath]:
// "payloads/<N>" and, unless they are full, ".p/<W>".
func PayloadsPath(index uint64, width int) string { return payloadsPrefix + indexPath(index, width) }

// ParsePayloadsPath reads what [PayloadsPath] writes and nothing else. Errors wrap
// [ErrPath].
func ParsePayloadsPath(path string) (index uint64, width int, err error) {
	return parsePrefixedPath(path, payloadsPrefix)
}

// RecordedPath returns "checkpoints/<size>".
func RecordedPath(size uint64) string {
	return CheckpointsPath + "/" + strconv.FormatUint(size, 10)
}

// ParseRecordedPath reads what [RecordedPath] writes and nothing else. Errors wrap
// [ErrPath].
func ParseRecordedPath(path string) (size uint64, err error) {
	digits, ok := strings.CutPrefix(path, CheckpointsPath+"/")
	size, err = parseDecimal(digits)
	if !ok || err != nil || size > MaxSize {
		return 0, fmt.Errorf("%w: not checkpoints/<size>", ErrPath)
	}
	return size, nil
}

// TileSpan returns how many hashes tile index of a level has in a tree of size leaves:
// 0 if it does not exist, 256 if it is full. Bundles have the span of level 0.
func TileSpan(level uint8, index, size uint64) int {
	if level >= 8 || index >= maxTileIndex {
		return 0
	}
	hashes, first := size>>(TileHeight*uint(level)), index*TileWidth
	if hashes <= first {
		return 0
	}
	return int(min(hashes-first, TileWidth))
}

// NewTiles yields the tiles that a copy of the tree of oldSize leaves lacks to become a
// copy of the tree of size leaves: every tile that has more hashes now, level by level,
// the lowest first. With oldSize 0 these are all tiles. The tiles of level 0 are also
// the bundles to copy.
func NewTiles(oldSize, size uint64) iter.Seq[Tile] {
	return func(yield func(Tile) bool) {
		for level := uint8(0); level < 8 && size>>(TileHeight*uint(level)) > 0; level++ {
			before := oldSize >> (TileHeight * uint(level))
			for index := before / TileWidth; ; index++ {
				width := TileSpan(level, index, size)
				if width == 0 {
					break
				}
				if width > TileSpan(level, index, oldSize) && !yield(Tile{level, index, width}) {
					return
				}
			}
		}
	}
}

// AppendTile appends the content of a tile, its hashes back to back.
func AppendTile(dst []byte, hashes []Hash) []byte {
	for i := range hashes {
		dst = append(dst, hashes[i][:]...)
	}
	return dst
}

// ParseTile reads the content of a tile with width hashes; it must have exactly that
// many. Errors wrap [ErrTile].
func ParseTile(data []byte, width int) ([]Hash, error) {
	if len(data) != width*HashSize {
		return nil, fmt.Errorf("%w: %d bytes, %d hashes have %d", ErrTile, len(data), width, width*HashSize)
	}
	hashes := make([]Hash, width)
	for i := range hashes {
		hashes[i] = Hash(data[i*HashSize:])
	}
	return hashes, nil
}

// indexPath writes <N>[.p/<W>].
func indexPath(index uint64, width int) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index >= 1000 {
		index /= 1000
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	if width != TileWidth {
		path += partialSuffix + strconv.Itoa(width)
	}
	return path
}

func parsePrefixedPath(path, prefix string) (index uint64, width int, err error) {
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return 0, 0, fmt.Errorf("%w: it does not begin with %q", ErrPath, prefix)
	}
	return parseIndexPath(rest)
}

// parseIndexPath reads what indexPath writes: it accepts a little more on the way, and
// compares with the one spelling at the end.
func parseIndexPath(s string) (index uint64, width int, err error) {
	groups, partial, isPartial := strings.Cut(s, partialSuffix)
	width = TileWidth
	if isPartial {
		w, err := parseDecimal(partial)
		if err != nil || w < 1 || w >= TileWidth {
			return 0, 0, fmt.Errorf("%w: malformed width", ErrPath)
		}
		width = int(w)
	}
	if len(groups) > maxIndexGroups*len("x000/") {
		return 0, 0, fmt.Errorf("%w: the index is too long", ErrPath)
	}
	for group := range strings.SplitSeq(groups, "/") {
		digits := strings.TrimPrefix(group, "x")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || len(digits) != 3 {
			return 0, 0, fmt.Errorf("%w: malformed index", ErrPath)
		}
		index = index*1000 + n
	}
	if index >= maxTileIndex || indexPath(index, width) != s {
		return 0, 0, fmt.Errorf("%w: malformed index", ErrPath)
	}
	return index, width, nil
}
