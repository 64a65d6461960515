//go:build tools

// What is built of the suite, so that `go mod tidy` keeps what it needs.
package conformance

import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
