//go:build tools

// Package tools names what build.sh builds, so that go.mod pins it.
package tools

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
