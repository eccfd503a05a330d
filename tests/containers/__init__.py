"""The image and hsm/docker-compose.yml, in containers: see `make test-containers`."""
