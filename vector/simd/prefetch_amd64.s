#include "textflag.h"

// func Prefetch(words []uint32)
TEXT ·Prefetch(SB), NOSPLIT, $0-24
	MOVQ       words_base+0(FP), AX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	PREFETCHT0 128(AX)
	RET
