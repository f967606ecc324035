#include "textflag.h"

// What a query is turned into once, before a search.

// func quantizeAVX512(code []int8, v []float32, perStep float32) (square uint32)
//
// len(v) is a multiple of 16.
TEXT ·quantizeAVX512(SB), NOSPLIT, $0-60
	MOVQ         code_base+0(FP), DI
	MOVQ         v_base+24(FP), SI
	MOVQ         v_len+32(FP), CX
	VBROADCASTSS perStep+48(FP), Z4
	MOVL         $0x42FE0000, AX    // 127
	VPBROADCASTD AX, Z5
	MOVL         $0xC2FE0000, AX    // -127
	VPBROADCASTD AX, Z6
	VPXORQ       Z0, Z0, Z0

sixteen:
	SUBQ      $16, CX
	JLT       fold
	VMULPS    (SI), Z4, Z1
	VMINPS    Z5, Z1, Z1
	VMAXPS    Z6, Z1, Z1
	VCVTPS2DQ Z1, Z1           // to the nearest, of two the even one
	VPMULLD   Z1, Z1, Z2
	VPADDD    Z2, Z0, Z0
	VPMOVDB   Z1, (DI)
	ADDQ      $64, SI
	ADDQ      $16, DI
	JMP       sixteen

fold:
	VEXTRACTI64X4 $1, Z0, Y1
	VPADDD        Y1, Y0, Y0
	VEXTRACTI128  $1, Y0, X1
	VPADDD        X1, X0, X0
	VPSHUFD       $0x4E, X0, X1
	VPADDD        X1, X0, X0
	VPSHUFD       $0xB1, X0, X1
	VPADDD        X1, X0, X0
	VMOVD         X0, AX
	MOVL          AX, square+56(FP)
	VZEROUPPER
	RET

// STAGE adds and subtracts the lanes of FROM that SWAPPED brings together; K has
// the higher lane of each pair.
#define STAGE(FROM, SWAPPED, K, TO) \
	VADDPS FROM, SWAPPED, TO    \
	VSUBPS FROM, SWAPPED, K, TO

// func signsAVX512(code, flips []uint64, work []float32)
TEXT ·signsAVX512(SB), NOSPLIT, $0-72
	MOVQ         code_base+0(FP), DI
	MOVQ         flips_base+24(FP), BX
	MOVQ         work_base+48(FP), SI
	MOVQ         work_len+56(FP), CX
	SHLQ         $2, CX                // bytes
	MOVL         $0x80000000, AX
	VPBROADCASTD AX, Z7
	MOVL         $0xAAAA, AX
	KMOVW        AX, K2
	MOVL         $0xCCCC, AX
	KMOVW        AX, K3
	MOVL         $0xF0F0, AX
	KMOVW        AX, K4
	MOVL         $0xFF00, AX
	KMOVW        AX, K5

	// The stages within a register.
	XORQ R8, R8

within:
	KMOVW      (BX), K1
	VMOVUPS    (SI)(R8*1), Z0
	VPXORD     Z7, Z0, K1, Z0
	VPERMILPS  $0xB1, Z0, Z2
	STAGE(Z0, Z2, K2, Z1)
	VPERMILPS  $0x4E, Z1, Z2
	STAGE(Z1, Z2, K3, Z0)
	VSHUFF32X4 $0xB1, Z0, Z0, Z2
	STAGE(Z0, Z2, K4, Z1)
	VSHUFF32X4 $0x4E, Z1, Z1, Z2
	STAGE(Z1, Z2, K5, Z0)
	VMOVUPS    Z0, (SI)(R8*1)
	ADDQ       $2, BX
	ADDQ       $64, R8
	CMPQ       R8, CX
	JLT        within

	// The stages between registers, R9 bytes apart.
	MOVQ $64, R9

stage:
	CMPQ R9, CX
	JGE  extract
	MOVQ SI, R10          // the low half of a block
	LEAQ (SI)(CX*1), R12  // the end

block:
	LEAQ (R10)(R9*1), R11

pair:
	VMOVUPS (R10), Z0
	VMOVUPS (R10)(R9*1), Z1
	VADDPS  Z1, Z0, Z2
	VSUBPS  Z1, Z0, Z3
	VMOVUPS Z2, (R10)
	VMOVUPS Z3, (R10)(R9*1)
	ADDQ    $64, R10
	CMPQ    R10, R11
	JLT     pair
	ADDQ    R9, R10
	CMPQ    R10, R12
	JLT     block
	SHLQ    $1, R9
	JMP     stage

extract:
	XORQ R8, R8

sixteen:
	VMOVUPS  (SI)(R8*1), Z0
	VPTESTMD Z7, Z0, K1
	KMOVW    K1, AX
	MOVW     AX, (DI)
	ADDQ     $2, DI
	ADDQ     $64, R8
	CMPQ     R8, CX
	JLT      sixteen
	VZEROUPPER
	RET
