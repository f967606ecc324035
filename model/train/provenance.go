package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// provenance collects what went into the weights.
type provenance struct {
	sources []sourceFile
}

type sourceFile struct {
	name   string // relative to the folder it was read from
	sha256 string
}

// source records a file that was read.
func (p *provenance) source(root, path string, content []byte) {
	name, err := filepath.Rel(root, path)
	if err != nil {
		name = filepath.Base(path)
	}
	p.sources = append(p.sources, sourceFile{filepath.ToSlash(name), digest(content)})
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// markdown renders PROVENANCE.md. The weights' test reads the digests back.
func (p *provenance) markdown(w trained) []byte {
	var out bytes.Buffer
	out.WriteString(strings.TrimLeft(provenanceText, "\n"))
	fmt.Fprintf(&out, "\n## Weights\n\n| file | bytes | sha256 |\n|---|---|---|\n")
	fmt.Fprintf(&out, "| static.bin | %d | %s |\n", len(w.static), digest(w.static))
	fmt.Fprintf(&out, "| audit.bin | %d | %s |\n", len(w.audit), digest(w.audit))
	fmt.Fprintf(&out, "\n## Files read\n\n| file | sha256 |\n|---|---|\n")
	for _, s := range p.sources {
		fmt.Fprintf(&out, "| %s | %s |\n", s.name, s.sha256)
	}
	return out.Bytes()
}

const provenanceText = `
# Provenance of the weights

This file is written by the program that trains them:

    go run ./model/train --data DIR --bitext DIR --manual docs/manual \
        --out model/weights --held model/quality/manual.tsv

Training is sequential with fixed seeds: the same files give the same bytes on
the same architecture (made on linux/amd64).

## Sources

| source | licence | used for |
|---|---|---|
| model/train/corpus, written for this project | MIT, like the project | both engines |
| docs/manual, the appliance's manual in English and Spanish, written for this project | MIT, like the project | both engines |
| CLINC150, Larson and others 2019 (clinc/oos-eval, data_full.json, train split; the audit also the val, oos_train and oos_val splits) | CC BY 3.0 | both engines |
| BANKING77, Casanueva and others 2020 (PolyAI-LDN/task-specific-datasets, train split) | CC BY 4.0 | both engines |
| OpenAI moderation evaluation set, Markov and others 2022 (openai/moderation-api-release, samples-1680) | MIT | both engines |
| AdvBench harmful behaviours, Zou and others 2023 (llm-attacks) | MIT, see NOTICE | both engines |
| Unicode CLDR 41 annotations and display names (Debian package unicode-cldr-core 41-0.1) | Unicode-DFS-2016 | embedder |
| Spanish message catalogues of PostgreSQL 15 (Debian packages postgresql-15, postgresql-client-15 15.20-0+deb12u1) | PostgreSQL licence | both engines |
| Spanish message catalogues of Django 3.2.25 (Debian package python3-django 3:3.2.25-0+deb12u7) | BSD-3-Clause | both engines |

A tenth of each public set, chosen by a hash of the text, and of the manual, by a
hash of the passage's identifier, is held out of training and used for measuring.
The similarity sets (STS-B) and XQuAD are not read by the training program. The
folder given to --bitext holds the named packages unpacked with
"dpkg-deb -x PACKAGE.deb DIR/NAME".

## NOTICE

AdvBench: "Universal and Transferable Adversarial Attacks on Aligned Language
Models", Andy Zou, Zifan Wang, Nicholas Carlini, Milad Nasr, J. Zico Kolter, Matt
Fredrikson, 2023. Copyright (c) 2023 Andy Zou. Distributed by its authors under
the MIT License. Its sentences are not part of this repository; the weights hold
only sums over hashed letters and words.

CLINC150 and BANKING77 are used under the Creative Commons Attribution licences
named above; their texts were changed into statistics.

Unicode CLDR: Copyright (c) 1991-2022 Unicode, Inc. All rights reserved.
Distributed under the Terms of Use in https://www.unicode.org/copyright.html.

PostgreSQL: Portions Copyright (c) 1996-2022, The PostgreSQL Global Development
Group; Portions Copyright (c) 1994, The Regents of the University of California.

Django: Copyright (c) Django Software Foundation and individual contributors.
`
