// Package deploytest runs what deployments hand to Varve, on the machine at
// hand, with the build tag deploy:
//
//   - The user data that the Terraform module renders (userdata_test.sh). Its
//     tests take the scripts out of a plan, run the steps that touch no device
//     and no service in a sandbox against a fake instance metadata service, and
//     start three coordinators, two ingest nodes and a tiering worker as
//     processes with exactly the command lines and configuration files that the
//     scripts wrote. Left out, because they need an instance: creating the user,
//     mounting a real device, and systemd.
//   - The services of compose.yaml (infra/compose/check.sh), as processes with
//     their commands and environments, an address each. Left out, because they
//     need an engine: images, networks, volumes and health checks.
//
// In both, the coordinator that leads is killed while records are sent.
package deploytest
