// Package tools names the packages whose modules go.mod pins: the official validation programs of the
// OCI runtime specification bring no go.mod of their own.
package tools

import (
	_ "github.com/mndrix/tap-go"
	_ "github.com/mrunalp/fileutils"
	_ "github.com/opencontainers/runtime-tools/cgroups"
	_ "github.com/opencontainers/runtime-tools/validate"
	_ "github.com/opencontainers/runtime-tools/validation/util"
	_ "github.com/opencontainers/selinux/go-selinux/label"
	_ "github.com/sirupsen/logrus"
	_ "github.com/syndtr/gocapability/capability"
	_ "github.com/urfave/cli"
)
