// Package courier carries small files across an air gap as QR codes: on a screen, on
// paper, photographed. It is for requests to witnesses and for what they answer.
//
// # Frames
//
// A file is cut into frames, each the text of one QR code in alphanumeric mode:
//
//	TAMV1:<total>:<number>:<crc>:<data>
//
//	total   frames of the file, decimal, 1..512
//	number  of this frame, decimal, 1..total
//	crc     CRC-32 (IEEE) of the whole file, 8 upper-case hex digits
//	data    this frame's part of the file in base45 (RFC 9285), not empty
//
// Every character is of the QR alphanumeric alphabet, so that a frame costs 5.5 bits a
// character. The data may contain colons; the four before it end the header.
//
// Frames arrive in any order, and again. A [Collector] refuses a frame of another file
// (another total or CRC), says which are missing and gives the file out when its CRC
// holds. The CRC guards against a mixture and a misread, not against an adversary: what
// travels here is signed.
//
// # Pictures
//
// [PNG] and [Terminal] draw a frame with error correction level M, which survives the
// loss of 15 % of a code. [Read] finds the codes in a picture, PNG or JPEG, turned and
// scaled as photographs are.
package courier
