#include "textflag.h"
#include "rows_arm64.h"

// Instructions that the assembler does not know. m, n and d are numbers of
// registers, in the assembler's order: the last is the destination.
#define SMULL(m, n, d)  WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d)) // Vm.B8  * Vn.B8  -> Vd.H8
#define SMULL2(m, n, d) WORD $(0x4E20C000 | (m)<<16 | (n)<<5 | (d)) // the upper halves
#define SADALP(n, d)    WORD $(0x4E606800 | (n)<<5 | (d))           // Vd.S4 += pairs of Vn.H8
#define UADALP(n, d)    WORD $(0x6E206800 | (n)<<5 | (d))           // Vd.H8 += pairs of Vn.B16
#define UADDLP(n, d)    WORD $(0x6E602800 | (n)<<5 | (d))           // Vd.S4 = pairs of Vn.H8
#define FMUL(m, n, d)   WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d)) // Vd.S4 = Vn.S4 * Vm.S4
#define FADD(m, n, d)   WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d)) // Vd.S4 = Vn.S4 + Vm.S4
#define FADDP(n, d)     WORD $(0x7E30D800 | (n)<<5 | (d))           // Fd = Vn.S[0] + Vn.S[1]

// A product of two signed bytes fits 16 bits, the sum of two does not: each is
// added to the 32-bit sums at once.
#define PRODUCTS(r, q, sum) \
	SMULL(q, r, 28)  \
	SMULL2(q, r, 29) \
	SADALP(28, sum)  \
	SADALP(29, sum)

#include "dots_arm64.h"

// func dotsNEON(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·dotsNEON(SB), NOSPLIT, $0-128
	DOTS

// func dotsLinearNEON(out []int32, query []int8, codes []byte)
TEXT ·dotsLinearNEON(SB), NOSPLIT, $0-72
	DOTS_LINEAR

// Hamming distances. CNT counts the bits of each byte and UADALP adds pairs of
// bytes to eight 16-bit sums: at most 16 each time, for 2048 times.

// DIFFER adds the bits in which V16 differs from the query in V4 to V(sum).
#define DIFFER(sum) \
	VEOR V4.B16, V16.B16, V16.B16 \
	VCNT V16.B16, V16.B16         \
	UADALP(16, sum)

#define DIFFER_PAIR(row, sum) \
	VLD1.P 16(row), [V16.B16] \
	DIFFER(sum)

// A load of one word clears the upper half of the register.
#define DIFFER_WORD(row, sum) \
	FMOVD (row), F16 \
	DIFFER(sum)

// func hammingsNEON(out []uint32, query []uint64, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·hammingsNEON(SB), NOSPLIT, $0-128
	LOAD_ARGUMENTS
	LSL $3, STRIDE

next:
	PREFETCH_ROWS
	LOCATE_FOUR(one)
	ZERO(V0)
	ZERO(V1)
	ZERO(V2)
	ZERO(V3)
	MOVD QUERY, Q
	SUBS $16, STRIDE, LEFT
	BLT  fourWord

fourPair:
	VLD1.P 16(Q), [V4.B16]
	DIFFER_PAIR(P0, 0)
	DIFFER_PAIR(P1, 1)
	DIFFER_PAIR(P2, 2)
	DIFFER_PAIR(P3, 3)
	SUBS   $16, LEFT
	BGE    fourPair

	// LEFT is -8 if there is a last word, otherwise -16.
fourWord:
	TBZ   $3, LEFT, fourSum
	FMOVD (Q), F4
	DIFFER_WORD(P0, 0)
	DIFFER_WORD(P1, 1)
	DIFFER_WORD(P2, 2)
	DIFFER_WORD(P3, 3)

fourSum:
	UADDLP(0, 0)
	UADDLP(1, 1)
	UADDLP(2, 2)
	UADDLP(3, 3)
	VADDP  V1.S4, V0.S4, V0.S4
	VADDP  V3.S4, V2.S4, V2.S4
	VADDP  V2.S4, V0.S4, V0.S4
	VST1.P [V0.S4], 16(OUT)
	ADD    $16, ROWS
	ADD    $4, I
	B      next

one:
	CMP  N, I
	BGE  done
	LOCATE(0, P0, done)
	ZERO(V0)
	MOVD QUERY, Q
	SUBS $16, STRIDE, LEFT
	BLT  oneWord

onePair:
	VLD1.P 16(Q), [V4.B16]
	DIFFER_PAIR(P0, 0)
	SUBS   $16, LEFT
	BGE    onePair

oneWord:
	TBZ   $3, LEFT, oneSum
	FMOVD (Q), F4
	DIFFER_WORD(P0, 0)

oneSum:
	VUADDLV V0.H8, V0
	FMOVS.P F0, 4(OUT)
	ADD     $4, ROWS
	ADD     $1, I
	B       one

done:
	MOVD I, done+120(FP)
	RET

// The float32 dot product in the order that Dot documents: the 32 lanes are V0
// to V7. A product is never fused into an addition.

// func dotNEON(a, b []float32) float32
TEXT ·dotNEON(SB), NOSPLIT, $0-52
	MOVD a_base+0(FP), R0
	MOVD b_base+24(FP), R1
	MOVD a_len+8(FP), R2
	ZERO(V0)
	ZERO(V1)
	ZERO(V2)
	ZERO(V3)
	ZERO(V4)
	ZERO(V5)
	ZERO(V6)
	ZERO(V7)

block:
	SUBS   $32, R2
	BLT    fold
	VLD1.P 64(R0), [V16.S4, V17.S4, V18.S4, V19.S4]
	VLD1.P 64(R1), [V24.S4, V25.S4, V26.S4, V27.S4]
	VLD1.P 64(R0), [V20.S4, V21.S4, V22.S4, V23.S4]
	VLD1.P 64(R1), [V28.S4, V29.S4, V30.S4, V31.S4]
	FMUL(24, 16, 16)
	FMUL(25, 17, 17)
	FMUL(26, 18, 18)
	FMUL(27, 19, 19)
	FMUL(28, 20, 20)
	FMUL(29, 21, 21)
	FMUL(30, 22, 22)
	FMUL(31, 23, 23)
	FADD(16, 0, 0)
	FADD(17, 1, 1)
	FADD(18, 2, 2)
	FADD(19, 3, 3)
	FADD(20, 4, 4)
	FADD(21, 5, 5)
	FADD(22, 6, 6)
	FADD(23, 7, 7)
	B      block

	// 32 lanes to 16, 8 and 4.
fold:
	FADD(4, 0, 0)
	FADD(5, 1, 1)
	FADD(6, 2, 2)
	FADD(7, 3, 3)
	FADD(2, 0, 0)
	FADD(3, 1, 1)
	FADD(1, 0, 0)
	ADD  $32, R2

quad:
	SUBS   $4, R2
	BLT    rest
	VLD1.P 16(R0), [V16.S4]
	VLD1.P 16(R1), [V17.S4]
	FMUL(17, 16, 16)
	FADD(16, 0, 0)
	B      quad

	// One to three elements are left, in as many lanes. The others add zero,
	// which changes no sum that began with zero.
rest:
	ADDS   $4, R2
	BEQ    sum
	ZERO(V16)
	ZERO(V17)
	VLD1.P 4(R0), V16.S[0]
	VLD1.P 4(R1), V17.S[0]
	SUBS   $1, R2
	BEQ    restProducts
	VLD1.P 4(R0), V16.S[1]
	VLD1.P 4(R1), V17.S[1]
	SUBS   $1, R2
	BEQ    restProducts
	VLD1   (R0), V16.S[2]
	VLD1   (R1), V17.S[2]

restProducts:
	FMUL(17, 16, 16)
	FADD(16, 0, 0)

sum:
	VEXT  $8, V0.B16, V0.B16, V1.B16
	FADD(1, 0, 0)
	FADDP(0, 0)
	FMOVS F0, ret+48(FP)
	RET
