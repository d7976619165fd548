"""The REST API, for apps' back ends: HTTP in front of `gateway.chat`, in processes of its own."""
