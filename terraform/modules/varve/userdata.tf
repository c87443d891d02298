locals {
  # What each role's configuration file says beyond the addresses that only the instance knows.
  settings = {
    coordinator = { metalog = var.metalog, nats_url = "", data_device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.coordinator.id, "-", "")}" }
    ingest      = { metalog = "", nats_url = local.nats_url, data_device = "/dev/sdf" }
    tiering     = { metalog = "", nats_url = local.nats_url, data_device = "" }
  }

  nats_url = "nats://${aws_network_interface.coordinator.private_ip}:${local.nats_port}"

  user_data = { for role in local.roles : role => templatefile("${path.module}/templates/userdata.sh.tftpl", {
    role          = role
    bucket        = local.bucket_url
    binary_url    = var.varve_binary_url
    binary_sha256 = var.varve_binary_sha256
    metalog       = local.settings[role].metalog
    nats_url      = local.settings[role].nats_url
    data_device   = local.settings[role].data_device
    kafka_port    = local.kafka_port
    http_port     = local.http_port
    internal_port = local.internal_port
    nats_port     = local.nats_port
    bootstrap     = file("${path.module}/files/bootstrap.sh")
  }) }
}
