data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
}

locals {
  # Ports, in one place: security groups, listeners and configuration agree by construction.
  kafka_port    = 9092
  http_port     = 8080
  internal_port = 9644
  nats_port     = 4222
  route_port    = 6222 # of the coordinators' NATS servers among themselves

  roles  = ["coordinator", "ingest", "tiering"]
  region = data.aws_region.current.region
  ami_id = var.ami_id != null ? var.ami_id : data.aws_ssm_parameter.ami[0].insecure_value
  tags   = merge({ "varve:cluster" = var.name }, var.tags)
}
