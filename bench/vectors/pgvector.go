package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/cmd/tamvbench/vectors"
)

// pgvector is the extension in a Postgres on this machine, which PGHOST and its
// like name as they do for psql. CPU time is that of the backend process that
// serves us.
var pgvector = peer{
	name:   "pgvector",
	locate: locatePgvector,
	serve: func(ctx context.Context, p vectors.Parameters, in io.Reader, out io.Writer) error {
		return serve(ctx, &pgvectorIndex{}, p, in, out)
	},
}

// maxEfSearch is the largest hnsw.ef_search that pgvector takes.
const maxEfSearch = 1000

func locatePgvector(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	const help = "; needed is a Postgres on this machine with pgvector (Debian: postgresql-NN-pgvector), named by PGHOST, PGUSER, PGDATABASE"
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		return "", errors.New("no Postgres answers" + help)
	}
	defer conn.Close(context.WithoutCancel(ctx)) // nothing was written
	var version string
	err = conn.QueryRow(ctx, `SELECT default_version FROM pg_available_extensions WHERE name = 'vector'`).Scan(&version)
	if err != nil {
		return "", errors.New("this Postgres has no extension vector" + help)
	}
	return version, nil
}

// pgvectorIndex works in one transaction on temporary tables and leaves nothing.
type pgvectorIndex struct {
	conn     *pgx.Conn
	pid      int // of the backend
	operator string
}

func (x *pgvectorIndex) build(ctx context.Context, p vectors.Parameters, base [][]float32) (b vectors.Built, err error) {
	if x.conn, err = pgx.Connect(ctx, ""); err != nil {
		return b, err
	}
	family := map[string]string{"cosine": "vector_cosine_ops", "ip": "vector_ip_ops", "l2": "vector_l2_ops"}[p.Metric]
	x.operator = map[string]string{"cosine": "<=>", "ip": "<#>", "l2": "<->"}[p.Metric]
	if err := x.exec(ctx,
		`BEGIN`,
		`SET LOCAL temp_buffers = '2GB'`,
		`SET LOCAL maintenance_work_mem = '2GB'`,
		`SET LOCAL max_parallel_maintenance_workers = 0`,
		`CREATE EXTENSION IF NOT EXISTS vector`,
		fmt.Sprintf(`CREATE TEMPORARY TABLE base (id int, v vector(%d)) ON COMMIT DROP`, len(base[0])),
		fmt.Sprintf(`CREATE TEMPORARY TABLE query (id int, v vector(%d)) ON COMMIT DROP`, len(base[0])),
	); err != nil {
		return b, err
	}
	if err := x.conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&x.pid); err != nil {
		return b, err
	}
	if err := x.fill(ctx, "base", base); err != nil {
		return b, err
	}
	began, err := load.TreeCPU(x.pid)
	if err != nil {
		return b, fmt.Errorf("the backend must run on this machine: %w", err)
	}
	if err := x.exec(ctx, fmt.Sprintf(`CREATE INDEX graph ON base USING hnsw (v %s) WITH (m = %d, ef_construction = %d)`, family, p.M, p.EfConstruction)); err != nil {
		return b, err
	}
	ended, err := load.TreeCPU(x.pid)
	if err != nil {
		return b, err
	}
	b.CPU = ended - began
	var bytes int64
	err = x.conn.QueryRow(ctx, `SELECT extversion, pg_relation_size('graph') FROM pg_extension WHERE extname = 'vector'`).Scan(&b.Version, &bytes)
	b.Setting = "float32, temporary tables in memory, one query for all; bytes of the index without the table"
	b.Bytes = float64(bytes) / float64(len(base))
	return b, err
}

// fill copies rows into a table.
func (x *pgvectorIndex) fill(ctx context.Context, table string, rows [][]float32) error {
	r, w := io.Pipe()
	go func() {
		var line []byte
		for i, row := range rows {
			line = append(strconv.AppendInt(line[:0], int64(i), 10), "\t["...)
			for j, c := range row {
				if j > 0 {
					line = append(line, ',')
				}
				line = strconv.AppendFloat(line, float64(c), 'g', -1, 32)
			}
			if _, err := w.Write(append(line, "]\n"...)); err != nil {
				return // the reader has gone and knows why
			}
		}
		w.Close()
	}()
	_, err := x.conn.PgConn().CopyFrom(ctx, r, "COPY "+table+" FROM STDIN")
	return errors.Join(err, r.Close())
}

func (x *pgvectorIndex) answer(ctx context.Context, queries [][]float32, ef int) ([][]int32, float64, error) {
	var filled bool
	if err := x.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM query)`).Scan(&filled); err != nil {
		return nil, 0, err
	}
	if !filled {
		if err := x.fill(ctx, "query", queries); err != nil {
			return nil, 0, err
		}
	}
	if err := x.exec(ctx, fmt.Sprintf(`SET LOCAL hnsw.ef_search = %d`, min(ef, maxEfSearch)), `SET LOCAL enable_seqscan = off`); err != nil {
		return nil, 0, err
	}
	began, err := load.TreeCPU(x.pid)
	if err != nil {
		return nil, 0, err
	}
	found := make([][]int32, len(queries))
	rows, err := x.conn.Query(ctx, fmt.Sprintf(`SELECT q.id, ARRAY(SELECT b.id FROM base b ORDER BY b.v %s q.v LIMIT %d) FROM query q`, x.operator, vectors.K))
	if err != nil {
		return nil, 0, err
	}
	var id int32
	var ids []int32
	if _, err := pgx.ForEachRow(rows, []any{&id, &ids}, func() error {
		found[id] = append(found[id], ids...)
		return nil
	}); err != nil {
		return nil, 0, err
	}
	ended, err := load.TreeCPU(x.pid)
	return found, ended - began, err
}

func (x *pgvectorIndex) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := x.conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (x *pgvectorIndex) close(ctx context.Context) error {
	if x.conn == nil {
		return nil
	}
	_, err := x.conn.Exec(ctx, `ROLLBACK`)
	return errors.Join(err, x.conn.Close(ctx))
}

// resident is how many bytes of memory this process occupies; 0 if that cannot
// be known.
func resident() float64 {
	raw, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(raw))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return float64(pages * os.Getpagesize())
}
