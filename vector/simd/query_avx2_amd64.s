#include "textflag.h"

// What a query is turned into once, before a search. See query_avx512_amd64.s.

// ROUND leaves eight whole numbers in Y and adds their squares to Y0.
#define ROUND(at, Y) \
	VMULPS    at(SI), Y4, Y \
	VMINPS    Y5, Y, Y      \
	VMAXPS    Y6, Y, Y      \
	VCVTPS2DQ Y, Y          \
	VPMULLD   Y, Y, Y3      \
	VPADDD    Y3, Y0, Y0

// func quantizeAVX2(code []int8, v []float32, perStep float32) (square uint32)
//
// len(v) is a multiple of 16.
TEXT ·quantizeAVX2(SB), NOSPLIT, $0-60
	MOVQ         code_base+0(FP), DI
	MOVQ         v_base+24(FP), SI
	MOVQ         v_len+32(FP), CX
	VBROADCASTSS perStep+48(FP), Y4
	MOVL         $0x42FE0000, AX    // 127
	VMOVD        AX, X5
	VPBROADCASTD X5, Y5
	MOVL         $0xC2FE0000, AX    // -127
	VMOVD        AX, X6
	VPBROADCASTD X6, Y6
	VPXOR        Y0, Y0, Y0

sixteen:
	SUBQ         $16, CX
	JLT          fold
	ROUND(0, Y1)
	ROUND(32, Y2)
	VEXTRACTI128 $1, Y1, X3
	VPACKSSDW    X3, X1, X1
	VEXTRACTI128 $1, Y2, X3
	VPACKSSDW    X3, X2, X2
	VPACKSSWB    X2, X1, X1
	VMOVDQU      X1, (DI)
	ADDQ         $64, SI
	ADDQ         $16, DI
	JMP          sixteen

fold:
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	MOVL         AX, square+56(FP)
	VZEROUPPER
	RET

// Lane i of a register gets bit i of a byte as its sign.
DATA signShifts<>+0(SB)/4, $31
DATA signShifts<>+4(SB)/4, $30
DATA signShifts<>+8(SB)/4, $29
DATA signShifts<>+12(SB)/4, $28
DATA signShifts<>+16(SB)/4, $27
DATA signShifts<>+20(SB)/4, $26
DATA signShifts<>+24(SB)/4, $25
DATA signShifts<>+28(SB)/4, $24
GLOBL signShifts<>(SB), RODATA|NOPTR, $32

// STAGE adds and subtracts the lanes of FROM that Y2 has swapped; higher has the
// higher lane of each pair.
#define STAGE(FROM, higher, TO) \
	VADDPS   FROM, Y2, Y3       \
	VSUBPS   FROM, Y2, Y2       \
	VBLENDPS higher, Y2, Y3, TO

// func signsAVX2(code, flips []uint64, work []float32)
TEXT ·signsAVX2(SB), NOSPLIT, $0-72
	MOVQ         code_base+0(FP), DI
	MOVQ         flips_base+24(FP), BX
	MOVQ         work_base+48(FP), SI
	MOVQ         work_len+56(FP), CX
	SHLQ         $2, CX                // bytes
	MOVL         $0x80000000, AX
	VMOVD        AX, X7
	VPBROADCASTD X7, Y7
	VMOVDQU      signShifts<>(SB), Y6

	// The stages within a register.
	XORQ R8, R8

within:
	MOVBLZX      (BX), AX
	VMOVD        AX, X1
	VPBROADCASTD X1, Y1
	VPSLLVD      Y6, Y1, Y1
	VPAND        Y7, Y1, Y1
	VPXOR        (SI)(R8*1), Y1, Y0
	VPERMILPS    $0xB1, Y0, Y2
	STAGE(Y0, $0xAA, Y1)
	VPERMILPS    $0x4E, Y1, Y2
	STAGE(Y1, $0xCC, Y0)
	VPERM2F128   $1, Y0, Y0, Y2
	STAGE(Y0, $0xF0, Y1)
	VMOVUPS      Y1, (SI)(R8*1)
	INCQ         BX
	ADDQ         $32, R8
	CMPQ         R8, CX
	JLT          within

	// The stages between registers, R9 bytes apart.
	MOVQ $32, R9

stage:
	CMPQ R9, CX
	JGE  extract
	MOVQ SI, R10         // the low half of a block
	LEAQ (SI)(CX*1), R12 // the end

block:
	LEAQ (R10)(R9*1), R11

pair:
	VMOVUPS (R10), Y0
	VMOVUPS (R10)(R9*1), Y1
	VADDPS  Y1, Y0, Y2
	VSUBPS  Y1, Y0, Y3
	VMOVUPS Y2, (R10)
	VMOVUPS Y3, (R10)(R9*1)
	ADDQ    $32, R10
	CMPQ    R10, R11
	JLT     pair
	ADDQ    R9, R10
	CMPQ    R10, R12
	JLT     block
	SHLQ    $1, R9
	JMP     stage

extract:
	XORQ R8, R8

eight:
	VMOVUPS   (SI)(R8*1), Y0
	VMOVMSKPS Y0, AX
	MOVB      AX, (DI)
	INCQ      DI
	ADDQ      $32, R8
	CMPQ      R8, CX
	JLT       eight
	VZEROUPPER
	RET
