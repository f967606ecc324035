#include "textflag.h"

// func insertAVX512(list, entries []uint64, n int) (grown, first int)
//
// An entry finds its place from the end of the list, eight numbers at a time, and
// moves those that are greater up by one on the way.
TEXT ·insertAVX512(SB), NOSPLIT, $0-72
	MOVQ list_base+0(FP), DI
	MOVQ list_len+8(FP), R8      // the most
	MOVQ entries_base+24(FP), SI
	MOVQ entries_len+32(FP), CX
	MOVQ n+48(FP), R9            // numbers in the list
	MOVQ R8, R10                 // the first place that was taken

entry:
	SUBQ         $1, CX
	JLT          done
	MOVQ         (SI), AX
	ADDQ         $8, SI
	MOVQ         R9, BX          // numbers that are not compared yet
	CMPQ         R9, R8
	JLT          room
	DECQ         BX
	CMPQ         AX, (DI)(BX*8)
	JAE          entry
	DECQ         R9

room:
	INCQ         R9
	VPBROADCASTQ AX, Z0

eight:
	SUBQ      $8, BX
	JLT       rest
	VMOVDQU64 (DI)(BX*8), Z1
	VPCMPUQ   $6, Z0, Z1, K1         // which are greater
	VMOVDQU64 Z1, K1, 8(DI)(BX*8)
	KMOVW     K1, DX
	CMPL      DX, $0xFF
	JEQ       eight
	POPCNTL   DX, DX
	ADDQ      $8, BX
	SUBQ      DX, BX
	JMP       place

	// Fewer than eight are left: BX is their number less eight.
rest:
	ADDQ        $8, BX
	JEQ         place
	MOVL        $1, R11
	SHLXQ       BX, R11, R11
	DECQ        R11
	KMOVW       R11, K2
	VMOVDQU64.Z (DI), K2, Z1
	VPCMPUQ     $6, Z0, Z1, K2, K1
	VMOVDQU64   Z1, K1, 8(DI)
	KMOVW       K1, DX
	POPCNTL     DX, DX
	SUBQ        DX, BX

place:
	MOVQ    AX, (DI)(BX*8)
	CMPQ    BX, R10
	CMOVQLT BX, R10
	JMP     entry

done:
	MOVQ R9, grown+56(FP)
	MOVQ R10, first+64(FP)
	VZEROUPPER
	RET
