//go:build tools

// Package tools names what build.sh builds, so that go.mod pins it.
package tools

import (
	_ "github.com/moby/buildkit/cmd/buildctl"
	_ "github.com/moby/buildkit/cmd/buildkitd"
)
