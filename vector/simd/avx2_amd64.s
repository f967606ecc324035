#include "textflag.h"
#include "rows_amd64.h"

// Dot products of codes. VPMADDUBSW would saturate: two products of a byte
// reach 2*255*128. So 16 bytes at a time are widened to 16 bits, which VPMADDWD
// multiplies and adds in pairs to 32 bits. Codes are stored with 128 added, so
// each sum is too large by the product of the query with a row of 128s; XBIAS
// holds that, alike in every lane.
#define XBIAS  X15
#define YQUERY Y4

// BIAS sums 128*query over its bytes and spreads the result over XBIAS.
#define BIAS \
	MOVL         $0x00800080, K       \
	VMOVD        K, X6                \
	VPBROADCASTD X6, Y6               \
	VPXOR        Y5, Y5, Y5           \
	XORQ         K, K                 \
bias:                                     \
	VPMOVSXBW    (QUERY)(K*1), YQUERY \
	VPMADDWD     YQUERY, Y6, Y7       \
	VPADDD       Y7, Y5, Y5           \
	ADDQ         $16, K               \
	CMPQ         K, STRIDE            \
	JLT          bias                 \
	FOLD(Y5, X5, X6)                  \
	VPBROADCASTD X5, XBIAS

// FOLD adds the eight sums of Y into the lowest lane.
#define FOLD(Y, X, XT) \
	VEXTRACTI128 $1, Y, XT    \
	VPADDD       XT, X, X     \
	VPSHUFD      $0x4E, X, XT \
	VPADDD       XT, X, X     \
	VPSHUFD      $0xB1, X, XT \
	VPADDD       XT, X, X

// ADD_PRODUCTS adds 16 bytes of the row at P, times YQUERY, to SUM.
#define ADD_PRODUCTS(P, T, SUM) \
	VPMOVZXBW (P)(K*1), T  \
	VPMADDWD  YQUERY, T, T \
	VPADDD    T, SUM, SUM

// DOT_FOUR sums four rows, P0 to P3, each in a register of its own; then a
// transposition leaves the four results in X5.
#define DOT_FOUR(block) \
	VPXOR       Y0, Y0, Y0           \
	VPXOR       Y1, Y1, Y1           \
	VPXOR       Y2, Y2, Y2           \
	VPXOR       Y3, Y3, Y3           \
	XORQ        K, K                 \
block:                                   \
	VPMOVSXBW   (QUERY)(K*1), YQUERY \
	ADD_PRODUCTS(P0, Y5, Y0)         \
	ADD_PRODUCTS(P1, Y6, Y1)         \
	ADD_PRODUCTS(P2, Y7, Y2)         \
	ADD_PRODUCTS(P3, Y8, Y3)         \
	ADDQ        $16, K               \
	CMPQ        K, STRIDE            \
	JLT         block                \
	VPUNPCKLDQ  Y1, Y0, Y5           \
	VPUNPCKHDQ  Y1, Y0, Y6           \
	VPADDD      Y6, Y5, Y5           \
	VPUNPCKLDQ  Y3, Y2, Y7           \
	VPUNPCKHDQ  Y3, Y2, Y8           \
	VPADDD      Y8, Y7, Y7           \
	VPUNPCKLQDQ Y7, Y5, Y6           \
	VPUNPCKHQDQ Y7, Y5, Y8           \
	VPADDD      Y8, Y6, Y5           \
	VEXTRACTI128 $1, Y5, X6          \
	VPADDD      X6, X5, X5           \
	VPSUBD      XBIAS, X5, X5

// DOT_ONE sums the row at P0 into the lowest lane of X0.
#define DOT_ONE(block) \
	VPXOR     Y0, Y0, Y0           \
	XORQ      K, K                 \
block:                                 \
	VPMOVSXBW (QUERY)(K*1), YQUERY \
	ADD_PRODUCTS(P0, Y5, Y0)       \
	ADDQ      $16, K               \
	CMPQ      K, STRIDE            \
	JLT       block                \
	FOLD(Y0, X0, X6)               \
	VPSUBD    XBIAS, X0, X0

// func dotsAVX2(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·dotsAVX2(SB), NOSPLIT, $0-128
	LOAD_ARGUMENTS
	BIAS

next:
	PREFETCH_ROWS
	LOCATE_FOUR(one)
	DOT_FOUR(fourBlock)
	VMOVDQU X5, (OUT)(I*4)
	ADDQ    $4, I
	JMP     next

one:
	CMPQ  I, rows_len+80(FP)
	JGE   done
	LOCATE(0, P0, done)
	DOT_ONE(oneBlock)
	VMOVD X0, (OUT)(I*4)
	INCQ  I
	JMP   one

done:
	MOVQ I, done+120(FP)
	VZEROUPPER
	RET

// The loop over neighbouring rows lets the processor's own prefetcher work.

// func dotsLinearAVX2(out []int32, query []int8, codes []byte)
TEXT ·dotsLinearAVX2(SB), NOSPLIT, $0-72
	MOVQ out_base+0(FP), OUT
	MOVQ query_base+24(FP), QUERY
	MOVQ query_len+32(FP), STRIDE
	MOVQ codes_base+48(FP), P0
	MOVQ out_len+8(FP), I // rows left
	BIAS

next:
	SUBQ    $4, I
	JLT     rest
	LEAQ    (P0)(STRIDE*1), P1
	LEAQ    (P0)(STRIDE*2), P2
	LEAQ    (P1)(STRIDE*2), P3
	DOT_FOUR(fourBlock)
	VMOVDQU X5, (OUT)
	ADDQ    $16, OUT
	LEAQ    (P0)(STRIDE*4), P0
	JMP     next

rest:
	ADDQ $4, I

one:
	DECQ  I
	JLT   done
	DOT_ONE(oneBlock)
	VMOVD X0, (OUT)
	ADDQ  $4, OUT
	ADDQ  STRIDE, P0
	JMP   one

done:
	VZEROUPPER
	RET

// Hamming distances. VPSHUFB looks up the number of bits in each half byte and
// VPSADBW adds eight bytes into a 64-bit sum. A mask keeps the last, partial four
// words from being read beyond their row.
#define YNIBBLE Y15 // 0x0f in every byte
#define YCOUNTS Y14 // the bits in 0 to 15, once in each half
#define YZERO   Y13
#define YMASK   Y12
#define REST    R14 // bytes of a row in whole blocks; what follows is masked

DATA nibbleBits<>+0(SB)/8, $0x0302020102010100
DATA nibbleBits<>+8(SB)/8, $0x0403030203020201
GLOBL nibbleBits<>(SB), RODATA|NOPTR, $16

// A window of four words that begins 3-n words into the table selects n.
DATA wordMasks<>+0(SB)/8, $-1
DATA wordMasks<>+8(SB)/8, $-1
DATA wordMasks<>+16(SB)/8, $-1
DATA wordMasks<>+24(SB)/8, $0
DATA wordMasks<>+32(SB)/8, $0
DATA wordMasks<>+40(SB)/8, $0
DATA wordMasks<>+48(SB)/8, $0
GLOBL wordMasks<>(SB), RODATA|NOPTR, $56

// COUNT adds the bits set in T to SUM.
#define COUNT(T, SUM) \
	VPAND   YNIBBLE, T, Y9  \
	VPSRLW  $4, T, T        \
	VPAND   YNIBBLE, T, T   \
	VPSHUFB Y9, YCOUNTS, Y9 \
	VPSHUFB T, YCOUNTS, T   \
	VPADDB  Y9, T, T        \
	VPSADBW YZERO, T, T     \
	VPADDQ  T, SUM, SUM

// DIFFER adds the bits in which the row at P differs from YQUERY to SUM.
#define DIFFER(P, SUM) \
	VPXOR (P)(K*1), YQUERY, Y5 \
	COUNT(Y5, SUM)

#define DIFFER_MASKED(P, SUM) \
	VPMASKMOVQ (P)(K*1), YMASK, Y5 \
	VPXOR      YQUERY, Y5, Y5      \
	COUNT(Y5, SUM)

// func hammingsAVX2(out []uint32, query []uint64, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·hammingsAVX2(SB), NOSPLIT, $0-128
	LOAD_ARGUMENTS
	MOVL           $0x0f0f0f0f, R9
	VMOVD          R9, X15
	VPBROADCASTD   X15, YNIBBLE
	VBROADCASTI128 nibbleBits<>(SB), YCOUNTS
	VPXOR          YZERO, YZERO, YZERO

	// YMASK = the words beyond the last whole four.
	MOVQ    STRIDE, R9
	ANDQ    $3, R9
	NEGQ    R9
	LEAQ    wordMasks<>(SB), R10
	VMOVDQU 24(R10)(R9*8), YMASK
	MOVQ    STRIDE, REST
	ANDQ    $~3, REST
	SHLQ    $3, REST
	SHLQ    $3, STRIDE

next:
	PREFETCH_ROWS
	LOCATE_FOUR(one)
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	XORQ  K, K

fourBlock:
	CMPQ    K, REST
	JGE     fourRest
	VMOVDQU (QUERY)(K*1), YQUERY
	DIFFER(P0, Y0)
	DIFFER(P1, Y1)
	DIFFER(P2, Y2)
	DIFFER(P3, Y3)
	ADDQ    $32, K
	JMP     fourBlock

fourRest:
	CMPQ       K, STRIDE
	JGE        fourSum
	VPMASKMOVQ (QUERY)(K*1), YMASK, YQUERY
	DIFFER_MASKED(P0, Y0)
	DIFFER_MASKED(P1, Y1)
	DIFFER_MASKED(P2, Y2)
	DIFFER_MASKED(P3, Y3)

	// Counts fit 32 bits: two rows share a register, then all four.
fourSum:
	VPSLLQ       $32, Y1, Y1
	VPOR         Y1, Y0, Y0
	VPSLLQ       $32, Y3, Y3
	VPOR         Y3, Y2, Y2
	VPUNPCKLQDQ  Y2, Y0, Y5
	VPUNPCKHQDQ  Y2, Y0, Y6
	VPADDD       Y6, Y5, Y5
	VEXTRACTI128 $1, Y5, X6
	VPADDD       X6, X5, X5
	VMOVDQU      X5, (OUT)(I*4)
	ADDQ         $4, I
	JMP          next

one:
	CMPQ  I, rows_len+80(FP)
	JGE   done
	LOCATE(0, P0, done)
	VPXOR Y0, Y0, Y0
	XORQ  K, K

oneBlock:
	CMPQ    K, REST
	JGE     oneRest
	VMOVDQU (QUERY)(K*1), YQUERY
	DIFFER(P0, Y0)
	ADDQ    $32, K
	JMP     oneBlock

oneRest:
	CMPQ       K, STRIDE
	JGE        oneSum
	VPMASKMOVQ (QUERY)(K*1), YMASK, YQUERY
	DIFFER_MASKED(P0, Y0)

oneSum:
	FOLD(Y0, X0, X6)
	VMOVD X0, (OUT)(I*4)
	INCQ  I
	JMP   one

done:
	MOVQ I, done+120(FP)
	VZEROUPPER
	RET

// The float32 dot product in the order that Dot documents: the 32 lanes are Y0
// to Y3. A product is never fused into an addition.

// A window of four lanes that begins 3-n lanes into the table selects n.
DATA laneMasks<>+0(SB)/8, $-1
DATA laneMasks<>+8(SB)/8, $0x00000000ffffffff
DATA laneMasks<>+16(SB)/8, $0
GLOBL laneMasks<>(SB), RODATA|NOPTR, $24

// func dotAVX2(a, b []float32) float32
TEXT ·dotAVX2(SB), NOSPLIT, $0-52
	MOVQ  a_base+0(FP), SI
	MOVQ  b_base+24(FP), DI
	MOVQ  a_len+8(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3

block:
	SUBQ    $32, CX
	JLT     fold
	VMOVUPS (SI), Y4
	VMOVUPS 32(SI), Y5
	VMOVUPS 64(SI), Y6
	VMOVUPS 96(SI), Y7
	VMULPS  (DI), Y4, Y4
	VMULPS  32(DI), Y5, Y5
	VMULPS  64(DI), Y6, Y6
	VMULPS  96(DI), Y7, Y7
	VADDPS  Y4, Y0, Y0
	VADDPS  Y5, Y1, Y1
	VADDPS  Y6, Y2, Y2
	VADDPS  Y7, Y3, Y3
	ADDQ    $128, SI
	ADDQ    $128, DI
	JMP     block

	// 32 lanes to 16, 8 and 4.
fold:
	VADDPS       Y2, Y0, Y0
	VADDPS       Y3, Y1, Y1
	VADDPS       Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	ADDQ         $32, CX

quad:
	SUBQ    $4, CX
	JLT     rest
	VMOVUPS (SI), X2
	VMULPS  (DI), X2, X2
	VADDPS  X2, X0, X0
	ADDQ    $16, SI
	ADDQ    $16, DI
	JMP     quad

	// One to three elements are left: a mask of as many lanes. The others add
	// zero, which changes no sum that began with zero.
rest:
	ADDQ       $4, CX
	JZ         sum
	NEGQ       CX
	LEAQ       laneMasks<>(SB), AX
	VMOVDQU    12(AX)(CX*4), X4
	VMASKMOVPS (SI), X4, X2
	VMASKMOVPS (DI), X4, X3
	VMULPS     X3, X2, X2
	VADDPS     X2, X0, X0

sum:
	VPERMILPS $0x4E, X0, X1
	VADDPS    X1, X0, X0
	VMOVSHDUP X0, X1
	VADDSS    X1, X0, X0
	VMOVSS    X0, ret+48(FP)
	VZEROUPPER
	RET
