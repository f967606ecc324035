package courier

// alphabet is that of base45 and of QR's alphanumeric mode, in their common order.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// digit is the value of a character, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'Z':
		return int(c-'A') + 10
	}
	for i := 36; i < len(alphabet); i++ {
		if alphabet[i] == c {
			return i
		}
	}
	return -1
}

// appendBase45 appends data in base45: three characters for two bytes, the least
// significant first, and two for a byte that is left over.
func appendBase45(dst, data []byte) []byte {
	for ; len(data) >= 2; data = data[2:] {
		n := int(data[0])<<8 | int(data[1])
		dst = append(dst, alphabet[n%45], alphabet[n/45%45], alphabet[n/45/45])
	}
	if len(data) == 1 {
		n := int(data[0])
		dst = append(dst, alphabet[n%45], alphabet[n/45])
	}
	return dst
}

// decodeBase45 reads what appendBase45 writes and nothing else.
func decodeBase45(text string) ([]byte, bool) {
	data := make([]byte, 0, len(text)/3*2+1)
	for len(text) > 0 {
		n, scale := 0, 1
		group := min(len(text), 3)
		for i := range group {
			d := digit(text[i])
			if d < 0 {
				return nil, false
			}
			n, scale = n+d*scale, scale*45
		}
		switch {
		case group == 3 && n < 1<<16:
			data = append(data, byte(n>>8), byte(n))
		case group == 2 && n < 1<<8:
			data = append(data, byte(n))
		default:
			return nil, false
		}
		text = text[group:]
	}
	return data, true
}
