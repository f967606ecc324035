// Dot products of codes on arm64, for files that define PRODUCTS(r, q, sum):
// add the products of the 16 signed bytes in V(r) and V(q) to the four sums in
// V(sum). The numbers are those of registers.
//
// Codes are stored with 128 added; an exclusive or with SIGN makes them signed.
#define SIGN V31

// ADD_BLOCK adds 64 bytes at row, times the query in V4 to V7, to
// V(sum), and moves row on.
#define ADD_BLOCK(row, sum) \
	VLD1.P 64(row), [V16.B16, V17.B16, V18.B16, V19.B16] \
	VEOR   SIGN.B16, V16.B16, V16.B16                    \
	VEOR   SIGN.B16, V17.B16, V17.B16                    \
	VEOR   SIGN.B16, V18.B16, V18.B16                    \
	VEOR   SIGN.B16, V19.B16, V19.B16                    \
	PRODUCTS(16, 4, sum)                                 \
	PRODUCTS(17, 5, sum)                                 \
	PRODUCTS(18, 6, sum)                                 \
	PRODUCTS(19, 7, sum)

#define ZERO(V) VEOR V.B16, V.B16, V.B16

// DOT_FOUR leaves the sums of the four rows at P0 to P3 in V0, and each pointer
// behind its row.
#define DOT_FOUR(block) \
	ZERO(V0)                                       \
	ZERO(V1)                                       \
	ZERO(V2)                                       \
	ZERO(V3)                                       \
	MOVD   QUERY, Q                                \
	MOVD   STRIDE, LEFT                            \
block:                                                 \
	VLD1.P 64(Q), [V4.B16, V5.B16, V6.B16, V7.B16] \
	ADD_BLOCK(P0, 0)                               \
	ADD_BLOCK(P1, 1)                               \
	ADD_BLOCK(P2, 2)                               \
	ADD_BLOCK(P3, 3)                               \
	SUBS   $64, LEFT                               \
	BNE    block                                   \
	VADDP  V1.S4, V0.S4, V0.S4                     \
	VADDP  V3.S4, V2.S4, V2.S4                     \
	VADDP  V2.S4, V0.S4, V0.S4

// DOT_ONE leaves the sum of the row at P0 in the lowest lane of V0, and P0
// behind the row.
#define DOT_ONE(block) \
	ZERO(V0)                                       \
	MOVD   QUERY, Q                                \
	MOVD   STRIDE, LEFT                            \
block:                                                 \
	VLD1.P 64(Q), [V4.B16, V5.B16, V6.B16, V7.B16] \
	ADD_BLOCK(P0, 0)                               \
	SUBS   $64, LEFT                               \
	BNE    block                                   \
	VADDV  V0.S4, V0

// DOTS is the body of the function over listed rows.
#define DOTS \
	LOAD_ARGUMENTS          \
	VMOVI  $128, SIGN.B16   \
next:                           \
	PREFETCH_ROWS           \
	LOCATE_FOUR(one)        \
	DOT_FOUR(fourBlock)     \
	VST1.P [V0.S4], 16(OUT) \
	ADD    $16, ROWS        \
	ADD    $4, I            \
	B      next             \
one:                            \
	CMP    N, I             \
	BGE    done             \
	LOCATE(0, P0, done)     \
	DOT_ONE(oneBlock)       \
	FMOVS.P F0, 4(OUT)      \
	ADD    $4, ROWS         \
	ADD    $1, I            \
	B      one              \
done:                           \
	MOVD   I, done+120(FP)  \
	RET

// DOTS_LINEAR is the body of the function over neighbouring rows, where the
// processor's own prefetcher suffices.
#define DOTS_LINEAR \
	MOVD   out_base+0(FP), OUT      \
	MOVD   out_len+8(FP), N         \
	MOVD   query_base+24(FP), QUERY \
	MOVD   query_len+32(FP), STRIDE \
	MOVD   codes_base+48(FP), P0    \
	VMOVI  $128, SIGN.B16           \
next:                                   \
	CMP    $4, N                    \
	BLT    one                      \
	ADD    STRIDE, P0, P1           \
	ADD    STRIDE, P1, P2           \
	ADD    STRIDE, P2, P3           \
	DOT_FOUR(fourBlock)             \
	MOVD   P3, P0                   \
	VST1.P [V0.S4], 16(OUT)         \
	SUB    $4, N                    \
	B      next                     \
one:                                    \
	CBZ    N, done                  \
	DOT_ONE(oneBlock)               \
	FMOVS.P F0, 4(OUT)              \
	SUB    $1, N                    \
	B      one                      \
done:                                   \
	RET
