// What the loops over listed rows have in common on amd64. Their functions share
// one signature,
//
//	func(out, query, codes, rows slice, limit, ahead, lines int) (done int)
//
// and these registers:
#define OUT     DI
#define QUERY   SI
#define CODES   BX
#define STRIDE  DX  // bytes in a row
#define ROWS    R8
#define I       AX  // rows finished
#define FETCHED R13 // rows prefetched
#define K       CX  // offset within a row, in bytes
#define P0      R9  // the row, or the first of four
#define P1      R10
#define P2      R11
#define P3      R12

#define LINE 64

#define LOAD_ARGUMENTS \
	MOVQ out_base+0(FP), OUT      \
	MOVQ query_base+24(FP), QUERY \
	MOVQ query_len+32(FP), STRIDE \
	MOVQ codes_base+48(FP), CODES \
	MOVQ rows_base+72(FP), ROWS   \
	XORQ I, I                     \
	XORQ FETCHED, FETCHED

// PREFETCH_ROWS fetches the first lines of every row before min(I+ahead, n) that
// has not been fetched. A row out of range is harmless: a prefetch never faults.
#define PREFETCH_ROWS \
	MOVQ    ahead+104(FP), R9      \
	ADDQ    I, R9                  \
	MOVQ    rows_len+80(FP), R10   \
	CMPQ    R9, R10                \
	CMOVQGT R10, R9                \
fetchRow:                              \
	CMPQ    FETCHED, R9            \
	JGE     fetched                \
	MOVL    (ROWS)(FETCHED*4), R11 \
	IMULQ   STRIDE, R11            \
	ADDQ    CODES, R11             \
	MOVQ    lines+112(FP), R12     \
fetchLine:                             \
	PREFETCHT0 (R11)               \
	ADDQ    $LINE, R11             \
	DECQ    R12                    \
	JNZ     fetchLine              \
	INCQ    FETCHED                \
	JMP     fetchRow               \
fetched:

// LOCATE points P to row I+n of the list, or jumps to bad if the arena has
// no such row.
#define LOCATE(n, P, bad) \
	MOVL  (4*n)(ROWS)(I*4), P \
	CMPQ  P, limit+96(FP)     \
	JAE   bad                 \
	IMULQ STRIDE, P           \
	ADDQ  CODES, P

// LOCATE_FOUR points P0 to P3 to the next four rows. It jumps to one if fewer
// are left, or if one of them is out of range: the loop over single rows then
// finds which.
#define LOCATE_FOUR(one) \
	MOVQ rows_len+80(FP), K \
	SUBQ I, K               \
	CMPQ K, $4              \
	JLT  one                \
	LOCATE(0, P0, one)      \
	LOCATE(1, P1, one)      \
	LOCATE(2, P2, one)      \
	LOCATE(3, P3, one)
