#include "textflag.h"

// func Prefetch(words []uint32)
TEXT ·Prefetch(SB), NOSPLIT, $0-24
	MOVD words_base+0(FP), R0
	PRFM (R0), PLDL1KEEP
	PRFM 64(R0), PLDL1KEEP
	PRFM 128(R0), PLDL1KEEP
	RET
