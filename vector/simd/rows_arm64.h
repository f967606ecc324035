// What the loops over listed rows have in common on arm64. Their functions share
// one signature,
//
//	func(out, query, codes, rows slice, limit, ahead, lines int) (done int)
//
// and these registers:
#define OUT     R0  // the next result
#define QUERY   R1
#define CODES   R2
#define STRIDE  R3  // bytes in a row
#define ROWS    R4  // the next entry of rows
#define I       R5  // rows finished
#define FETCHED R6  // rows prefetched
#define P0      R7  // within the row, or the first of four
#define P1      R8
#define P2      R9
#define P3      R10
#define LIMIT   R11
#define AHEAD   R12
#define LINES   R13
#define N       R14 // rows in all
#define Q       R19 // within the query
#define LEFT    R20 // bytes left in the row
#define FETCH   R21 // the next entry of rows to prefetch
#define T0      R15
#define T1      R16
#define T2      R17

#define LINE 64

#define LOAD_ARGUMENTS \
	MOVD out_base+0(FP), OUT      \
	MOVD query_base+24(FP), QUERY \
	MOVD query_len+32(FP), STRIDE \
	MOVD codes_base+48(FP), CODES \
	MOVD rows_base+72(FP), ROWS   \
	MOVD rows_len+80(FP), N       \
	MOVD limit+96(FP), LIMIT      \
	MOVD ahead+104(FP), AHEAD     \
	MOVD lines+112(FP), LINES     \
	MOVD ROWS, FETCH              \
	MOVD ZR, I                    \
	MOVD ZR, FETCHED

// PREFETCH_ROWS fetches the first lines of every row before min(I+ahead, n) that
// has not been fetched. A row out of range is harmless: a prefetch never faults.
#define PREFETCH_ROWS \
	ADD     AHEAD, I, T0          \
	CMP     N, T0                 \
	CSEL    LT, T0, N, T0         \
fetchRow:                             \
	CMP     T0, FETCHED           \
	BGE     fetched               \
	MOVWU.P 4(FETCH), T1          \
	MADD    STRIDE, CODES, T1, T1 \
	MOVD    LINES, T2             \
fetchLine:                            \
	PRFM    (T1), PLDL1KEEP       \
	ADD     $LINE, T1             \
	SUBS    $1, T2                \
	BNE     fetchLine             \
	ADD     $1, FETCHED           \
	B       fetchRow              \
fetched:

// LOCATE points P to row I+n of the list, or jumps to bad if the arena has no
// such row.
#define LOCATE(n, P, bad) \
	MOVWU (4*n)(ROWS), P \
	CMP   LIMIT, P       \
	BHS   bad            \
	MADD  STRIDE, CODES, P, P

// LOCATE_FOUR points P0 to P3 to the next four rows. It jumps to one if fewer
// are left, or if one of them is out of range: the loop over single rows then
// finds which.
#define LOCATE_FOUR(one) \
	SUB I, N, T0       \
	CMP $4, T0         \
	BLT one            \
	LOCATE(0, P0, one) \
	LOCATE(1, P1, one) \
	LOCATE(2, P2, one) \
	LOCATE(3, P3, one)
