#include "textflag.h"
#include "rows_amd64.h"

// Dot products of codes. VPDPBUSD multiplies 64 unsigned bytes by 64 signed ones
// and adds each four neighbouring products to one of 16 sums. Codes are stored
// with 128 added, so each sum is too large by the product of the query with a
// row of 128s; ZBIAS holds that, alike in every lane.
#define ZBIAS  Z15
#define XBIAS  X15
#define Z128   Z14
#define ZQUERY Z4

// BIAS sums 128*query over its bytes and spreads the result over ZBIAS.
#define BIAS \
	MOVL          $0x80808080, K         \
	VPBROADCASTD  K, Z128                \
	VPXORQ        Z5, Z5, Z5             \
	XORQ          K, K                   \
bias:                                        \
	VPDPBUSD      (QUERY)(K*1), Z128, Z5 \
	ADDQ          $64, K                 \
	CMPQ          K, STRIDE              \
	JLT           bias                   \
	FOLD(Z5, Y5, X5, Y6, X6)             \
	VPBROADCASTD  X5, ZBIAS

// FOLD adds the 16 sums of Z into the lowest lane.
#define FOLD(Z, Y, X, YT, XT) \
	FOLD_TO_FOUR(Z, Y, X, YT, XT) \
	VPSHUFD       $0x4E, X, XT    \
	VPADDD        XT, X, X        \
	VPSHUFD       $0xB1, X, XT    \
	VPADDD        XT, X, X

#define FOLD_TO_FOUR(Z, Y, X, YT, XT) \
	VEXTRACTI64X4 $1, Z, YT \
	VPADDD        YT, Y, Y  \
	VEXTRACTI128  $1, Y, XT \
	VPADDD        XT, X, X

// DOT_FOUR sums four rows, P0 to P3, each in a register of its own; then a
// transposition leaves the four results in X5.
#define DOT_FOUR(block) \
	VPXORQ      Z0, Z0, Z0           \
	VPXORQ      Z1, Z1, Z1           \
	VPXORQ      Z2, Z2, Z2           \
	VPXORQ      Z3, Z3, Z3           \
	XORQ        K, K                 \
block:                                   \
	VMOVDQU64   (QUERY)(K*1), ZQUERY \
	VMOVDQU64   (P0)(K*1), Z5        \
	VMOVDQU64   (P1)(K*1), Z6        \
	VMOVDQU64   (P2)(K*1), Z7        \
	VMOVDQU64   (P3)(K*1), Z8        \
	VPDPBUSD    ZQUERY, Z5, Z0       \
	VPDPBUSD    ZQUERY, Z6, Z1       \
	VPDPBUSD    ZQUERY, Z7, Z2       \
	VPDPBUSD    ZQUERY, Z8, Z3       \
	ADDQ        $64, K               \
	CMPQ        K, STRIDE            \
	JLT         block                \
	VPUNPCKLDQ  Z1, Z0, Z5           \
	VPUNPCKHDQ  Z1, Z0, Z6           \
	VPADDD      Z6, Z5, Z5           \
	VPUNPCKLDQ  Z3, Z2, Z7           \
	VPUNPCKHDQ  Z3, Z2, Z8           \
	VPADDD      Z8, Z7, Z7           \
	VPUNPCKLQDQ Z7, Z5, Z6           \
	VPUNPCKHQDQ Z7, Z5, Z8           \
	VPADDD      Z8, Z6, Z5           \
	FOLD_TO_FOUR(Z5, Y5, X5, Y6, X6) \
	VPSUBD      XBIAS, X5, X5

// DOT_ONE sums the row at P0 into the lowest lane of X0.
#define DOT_ONE(block) \
	VPXORQ    Z0, Z0, Z0           \
	XORQ      K, K                 \
block:                                 \
	VMOVDQU64 (P0)(K*1), Z5        \
	VPDPBUSD  (QUERY)(K*1), Z5, Z0 \
	ADDQ      $64, K               \
	CMPQ      K, STRIDE            \
	JLT       block                \
	FOLD(Z0, Y0, X0, Y6, X6)       \
	VPSUBD    XBIAS, X0, X0

// func dotsAVX512(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·dotsAVX512(SB), NOSPLIT, $0-128
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

// func dotsLinearAVX512(out []int32, query []int8, codes []byte)
TEXT ·dotsLinearAVX512(SB), NOSPLIT, $0-72
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

// Hamming distances. VPOPCNTQ counts the bits of eight words at once. A mask
// keeps the last, partial eight from being read beyond its row.
#define REST R14 // bytes of a row in whole blocks; what follows is masked
#define MASK K1

// DIFFER adds the bits in which the row at P differs from ZQUERY to SUM.
#define DIFFER(P, T, SUM) \
	VPXORQ   (P)(K*1), ZQUERY, T \
	VPOPCNTQ T, T                \
	VPADDQ   T, SUM, SUM

#define DIFFER_MASKED(P, T, SUM) \
	VPXORQ.Z (P)(K*1), ZQUERY, MASK, T \
	VPOPCNTQ T, T                      \
	VPADDQ   T, SUM, SUM

// func hammingsAVX512(out []uint32, query []uint64, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·hammingsAVX512(SB), NOSPLIT, $0-128
	LOAD_ARGUMENTS

	// MASK = the words beyond the last whole eight.
	MOVQ  STRIDE, CX
	ANDQ  $7, CX
	MOVL  $1, R9
	SHLQ  CX, R9
	DECQ  R9
	KMOVW R9, MASK
	MOVQ  STRIDE, REST
	ANDQ  $~7, REST
	SHLQ  $3, REST
	SHLQ  $3, STRIDE

next:
	PREFETCH_ROWS
	LOCATE_FOUR(one)
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	XORQ   K, K

fourBlock:
	CMPQ      K, REST
	JGE       fourRest
	VMOVDQU64 (QUERY)(K*1), ZQUERY
	DIFFER(P0, Z5, Z0)
	DIFFER(P1, Z6, Z1)
	DIFFER(P2, Z7, Z2)
	DIFFER(P3, Z8, Z3)
	ADDQ      $64, K
	JMP       fourBlock

fourRest:
	CMPQ        K, STRIDE
	JGE         fourSum
	VMOVDQU64.Z (QUERY)(K*1), MASK, ZQUERY
	DIFFER_MASKED(P0, Z5, Z0)
	DIFFER_MASKED(P1, Z6, Z1)
	DIFFER_MASKED(P2, Z7, Z2)
	DIFFER_MASKED(P3, Z8, Z3)

	// Counts fit 32 bits: two rows share a register, then all four.
fourSum:
	VPSLLQ      $32, Z1, Z1
	VPORQ       Z1, Z0, Z0
	VPSLLQ      $32, Z3, Z3
	VPORQ       Z3, Z2, Z2
	VPUNPCKLQDQ Z2, Z0, Z5
	VPUNPCKHQDQ Z2, Z0, Z6
	VPADDD      Z6, Z5, Z5
	FOLD_TO_FOUR(Z5, Y5, X5, Y6, X6)
	VMOVDQU     X5, (OUT)(I*4)
	ADDQ        $4, I
	JMP         next

one:
	CMPQ   I, rows_len+80(FP)
	JGE    done
	LOCATE(0, P0, done)
	VPXORQ Z0, Z0, Z0
	XORQ   K, K

oneBlock:
	CMPQ      K, REST
	JGE       oneRest
	VMOVDQU64 (QUERY)(K*1), ZQUERY
	DIFFER(P0, Z5, Z0)
	ADDQ      $64, K
	JMP       oneBlock

oneRest:
	CMPQ        K, STRIDE
	JGE         oneSum
	VMOVDQU64.Z (QUERY)(K*1), MASK, ZQUERY
	DIFFER_MASKED(P0, Z5, Z0)

oneSum:
	FOLD(Z0, Y0, X0, Y6, X6)
	VMOVD X0, (OUT)(I*4)
	INCQ  I
	JMP   one

done:
	MOVQ I, done+120(FP)
	VZEROUPPER
	RET

// The float32 dot product in the order that Dot documents: the 32 lanes are Z0
// and Z1. A product is never fused into an addition.

// func dotAVX512(a, b []float32) float32
TEXT ·dotAVX512(SB), NOSPLIT, $0-52
	MOVQ   a_base+0(FP), SI
	MOVQ   b_base+24(FP), DI
	MOVQ   a_len+8(FP), CX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1

block:
	SUBQ    $32, CX
	JLT     fold
	VMOVUPS (SI), Z2
	VMOVUPS 64(SI), Z3
	VMULPS  (DI), Z2, Z2
	VMULPS  64(DI), Z3, Z3
	VADDPS  Z2, Z0, Z0
	VADDPS  Z3, Z1, Z1
	ADDQ    $128, SI
	ADDQ    $128, DI
	JMP     block

	// 32 lanes to 16, 8 and 4.
fold:
	VADDPS        Z1, Z0, Z0
	VEXTRACTF64X4 $1, Z0, Y1
	VADDPS        Y1, Y0, Y0
	VEXTRACTF128  $1, Y0, X1
	VADDPS        X1, X0, X0
	ADDQ          $32, CX

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
	ADDQ      $4, CX
	JZ        sum
	MOVL      $1, AX
	SHLQ      CX, AX
	DECQ      AX
	KMOVW     AX, MASK
	VMOVUPS.Z (SI), MASK, X2
	VMOVUPS.Z (DI), MASK, X3
	VMULPS    X3, X2, X2
	VADDPS    X2, X0, X0

sum:
	VPERMILPS $0x4E, X0, X1
	VADDPS    X1, X0, X0
	VMOVSHDUP X0, X1
	VADDSS    X1, X0, X0
	VMOVSS    X0, ret+48(FP)
	VZEROUPPER
	RET
