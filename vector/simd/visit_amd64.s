#include "textflag.h"

// VISIT does one link. DX is then where its row lies in codes.
#define VISIT(next, done) \
	CMPQ       SI, CX           \
	JGE        done             \
	MOVL       (SI), DX         \
	ADDQ       $4, SI           \
	CMPQ       DX, R8           \
	JAE        next             \
	MOVL       DX, (DI)(R11*4)  \
	CMPB       AX, (BX)(DX*1)   \
	SETNE      R12              \
	MOVB       AX, (BX)(DX*1)   \
	ADDQ       R12, R11         \
	IMULQ      R10, DX          \
	PREFETCHT0 (R9)(DX*1)       \
	PREFETCHT0 64(R9)(DX*1)

// func visitAMD64(rows, links []uint32, visited []byte, epoch byte, codes unsafe.Pointer, stride int) (n int)
//
// Which rows were visited cannot be foretold, so there is no branch: every link is
// written behind those that count, and counts if it was not visited. Of rows of four
// lines and more four are fetched: the processor does not guess so short a run.
TEXT ·visitAMD64(SB), NOSPLIT, $0-104
	MOVQ    rows_base+0(FP), DI
	MOVQ    links_base+24(FP), SI
	MOVQ    links_len+32(FP), CX
	LEAQ    (SI)(CX*4), CX             // the end of the links
	MOVQ    visited_base+48(FP), BX
	MOVQ    visited_len+56(FP), R8
	MOVBLZX epoch+72(FP), AX
	MOVQ    codes+80(FP), R9
	MOVQ    stride+88(FP), R10
	XORL    R11, R11                   // how many count
	XORL    R12, R12
	CMPQ    R10, $256
	JGE     long

link:
	VISIT(link, done)
	JMP  link

long:
	VISIT(long, done)
	PREFETCHT0 128(R9)(DX*1)
	PREFETCHT0 192(R9)(DX*1)
	JMP        long

done:
	MOVQ R11, n+96(FP)
	RET
