"""UMT (Yu et al., ACL 2020, aclanthology 2020.acl-main.306) as parts for mmkit."""
