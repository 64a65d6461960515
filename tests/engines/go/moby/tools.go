//go:build tools

// Package tools names what build.sh builds, so that go.mod pins it.
package tools

import (
	_ "github.com/moby/moby/v2/cmd/docker-proxy"
	_ "github.com/moby/moby/v2/cmd/dockerd"
)
