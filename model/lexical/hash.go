package lexical

// Features are identified by 64-bit FNV-1a hashes, finished with the mixer of
// SplitMix64 because FNV's high bits are weak on short keys.

const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// Mix finishes a hash (Steele, Lea and Flood, "Fast splittable pseudorandom
// number generators", 2014).
func Mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// Hash identifies a word.
func Hash(word []byte) uint64 {
	h := uint64(offset)
	for _, c := range word {
		h = (h ^ uint64(c)) * prime
	}
	return Mix(h)
}

// Pair identifies two words in sequence.
func Pair(first, second uint64) uint64 {
	return Mix(first*3 + second ^ 0x9e3779b97f4a7c15)
}

// Grams appends to dst the hashes of the word's letter n-grams with
// minGram <= n <= maxGram, the word being written "<word>" so that beginnings
// and ends differ from middles. Letters are bytes: folded English and Spanish
// words are ASCII. An n-gram that would be the whole bracketed word is left
// out, since the word itself is a feature.
func Grams(dst []uint64, word []byte, minGram, maxGram int) []uint64 {
	n := len(word) + 2
	for i := 0; i+minGram <= n; i++ {
		h := uint64(offset) ^ 0x5bd1e995 // apart from the words' own hashes
		for j := i; j < n && j-i < maxGram; j++ {
			var c byte
			switch j {
			case 0:
				c = '<'
			case n - 1:
				c = '>'
			default:
				c = word[j-1]
			}
			h = (h ^ uint64(c)) * prime
			if size := j - i + 1; size >= minGram && size < n {
				dst = append(dst, Mix(h))
			}
		}
	}
	return dst
}
