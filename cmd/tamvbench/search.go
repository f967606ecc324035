package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/cmd/tamvbench/vectors"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

const (
	searchModel = "tamvbench" // of the vectors that come with the documents
	searchType  = "BENCH"
	searchBatch = 64 // documents a request, the most that memory takes
	searchLimit = 10
)

// searchLoad fills memory with the rows of a file, as documents with vectors of
// their own, and gives every client an identity and a connection: each search is
// a signed request with a vector that is in no document.
func searchLoad(ctx context.Context, s settings, site *site) ([]load.Worker, func(), error) {
	var clients []*client.Client
	stop := func() {
		for _, c := range clients {
			c.Close()
		}
	}
	queries, err := vectors.ReadRows(s.query)
	if err != nil {
		return nil, stop, err
	}
	people, err := site.enrolAll(ctx, s.clients, tap.Curator)
	if err != nil {
		return nil, stop, err
	}
	for i, person := range people {
		c, err := site.as(i, person)
		if err != nil {
			return nil, stop, err
		}
		clients = append(clients, c)
	}
	if err := fillMemory(ctx, clients, s.base); err != nil {
		return nil, stop, err
	}
	if err := settled(ctx, site); err != nil {
		return nil, stop, err
	}
	encoded := make([]string, len(queries))
	for i, q := range queries {
		encoded[i] = encodeVector(q)
	}
	var workers []load.Worker
	for _, c := range clients {
		workers = append(workers, func(ctx context.Context) error { return searchOnce(ctx, c, encoded[rand.IntN(len(encoded))]) })
	}
	return workers, stop, nil
}

const (
	// settleQuiet is how long no index may be in the making before a measurement:
	// longer than the node waits before it begins to make one.
	settleQuiet = 8 * time.Second
	settleTime  = 10 * time.Minute
)

// settled waits until the node has made the indexes anew that many new documents
// call for, which takes a core meanwhile.
func settled(ctx context.Context, site *site) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for quiet := time.Now(); time.Since(quiet) < settleQuiet; {
		now, err := site.usage(ctx)
		if err != nil {
			return err
		}
		if now.building > 0 {
			quiet = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return tap.AsError(ctx.Err())
		}
	}
	return nil
}

// fillMemory stores every row of the file, by all clients at once. What is stored
// already stays, so a second run costs little.
func fillMemory(ctx context.Context, clients []*client.Client, path string) error {
	rows, err := vectors.OpenRows(path)
	if err != nil {
		return err
	}
	defer rows.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	batches := make(chan []map[string]any)
	var work sync.WaitGroup
	for _, c := range clients {
		work.Go(func() {
			for documents := range batches {
				if err := storeBatch(ctx, c, documents); err != nil {
					stop(err) // the first one is the cause
				}
			}
		})
	}
	for first := 0; ctx.Err() == nil; {
		some, err := rows.Next(searchBatch)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			stop(err)
			break
		}
		select {
		case batches <- searchDocuments(first, some):
		case <-ctx.Done():
		}
		first += len(some)
	}
	close(batches)
	work.Wait()
	return context.Cause(ctx)
}

// searchDocuments are rows of the file, from the one numbered first on.
func searchDocuments(first int, rows [][]float32) []map[string]any {
	documents := make([]map[string]any, len(rows))
	for i, row := range rows {
		documents[i] = map[string]any{
			"id": "bench-" + strconv.Itoa(first+i), "documentType": searchType, "model": searchModel, "vector": encodeVector(row),
			"content": fmt.Sprintf("Row %d of a file of vectors.", first+i),
		}
	}
	return documents
}

func storeBatch(ctx context.Context, c *client.Client, documents []map[string]any) error {
	reply, err := c.Do(ctx, "POST", "/v1/memory/documents:batch", nil, map[string]any{"documents": documents})
	if err != nil {
		return err
	}
	var counts struct{ Created, Replaced, Unchanged int }
	if err := reply.Decode(&counts); err != nil {
		return err
	}
	if stored := counts.Created + counts.Replaced + counts.Unchanged; stored != len(documents) {
		return tap.E("bench.search", tap.Internal, "memory took %d of %d documents", stored, len(documents))
	}
	return nil
}

func searchOnce(ctx context.Context, c *client.Client, vector string) error {
	reply, err := c.Do(ctx, "POST", "/v1/memory/search", nil, map[string]any{
		"vector": vector, "model": searchModel, "ranking": "meaning", "limit": searchLimit, "threshold": 0,
	})
	if err != nil {
		return err
	}
	var found struct{ Results []struct{ DocumentID string } }
	if err := reply.Decode(&found); err != nil {
		return err
	}
	if len(found.Results) != searchLimit {
		return tap.E("bench.search", tap.Internal, "%d results instead of %d", len(found.Results), searchLimit)
	}
	return nil
}

// encodeVector is the short form that memory takes: base64 of little-endian float32.
func encodeVector(v []float32) string {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}
