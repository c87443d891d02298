locals {
  # How every process finds the coordinators, and they each other. Alone, a coordinator is in no group.
  peers = var.coordinator_count == 1 ? "" : join(",", [for number, n in aws_network_interface.coordinator :
    "${number}=${n.private_ip}:${local.internal_port}:${local.route_port}"
  ])
  nats_url = join(",", [for n in aws_network_interface.coordinator : "nats://${n.private_ip}:${local.nats_port}"])

  # What each configuration file says beyond the address and zone that only the instance knows.
  settings = merge(
    { for number in keys(local.coordinators) : "coordinator-${number}" => {
      role          = "coordinator"
      node_id       = local.peers == "" ? "" : number
      metalog       = var.metalog
      nats_url      = ""
      data_device   = var.metalog == "jetstream" ? "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.coordinator[number].id, "-", "")}" : ""
      drain_seconds = ""
      stop_seconds  = 90
    } },
    {
      # Stopping may take what draining may, and then some to close.
      ingest  = { role = "ingest", node_id = "", metalog = "", nats_url = local.nats_url, data_device = "/dev/sdf", drain_seconds = var.ingest_drain_seconds, stop_seconds = var.ingest_drain_seconds + 60 }
      tiering = { role = "tiering", node_id = "", metalog = "", nats_url = local.nats_url, data_device = "", drain_seconds = "", stop_seconds = 90 }
    },
  )

  user_data = { for name, s in local.settings : name => templatefile("${path.module}/templates/userdata.sh.tftpl", merge(s, {
    name          = name
    bucket        = local.bucket_url
    binary_url    = var.varve_binary_url
    binary_sha256 = var.varve_binary_sha256
    peers         = local.peers
    kafka_port    = local.kafka_port
    http_port     = local.http_port
    internal_port = local.internal_port
    nats_port     = local.nats_port
    bootstrap     = file("${path.module}/files/bootstrap.sh")
  })) }
}
