#include "textflag.h"
#include "rows_arm64.h"

// The dot product extension (FEAT_DotProd): SDOT multiplies 16 signed bytes by 16
// others and adds each four neighbouring products to one of four sums. The
// assembler does not know it.
#define SDOT(m, n, d) WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d))

#define PRODUCTS(r, q, sum) SDOT(q, r, sum)

#include "dots_arm64.h"

// func dotsDotProd(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)
TEXT ·dotsDotProd(SB), NOSPLIT, $0-128
	DOTS

// func dotsLinearDotProd(out []int32, query []int8, codes []byte)
TEXT ·dotsLinearDotProd(SB), NOSPLIT, $0-72
	DOTS_LINEAR
