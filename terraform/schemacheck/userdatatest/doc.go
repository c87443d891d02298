// Package userdatatest runs the user data that the Terraform module renders, on
// the machine at hand: its tests take the scripts out of a plan, run the
// steps that touch no device and no service in a sandbox against a fake
// instance metadata service, and start three coordinators, two ingest nodes and a tiering worker as processes with exactly the
// command lines and configuration files that the scripts wrote.
//
// The tests have the build tag userdata and are run by userdata_test.sh, which
// renders the plan. Left out, because they need an instance: creating the user,
// mounting a real device, and systemd.
package userdatatest
