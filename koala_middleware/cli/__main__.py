"""`python -m koala_middleware.cli` runs the `koala-middleware` command."""

from koala_middleware.cli.main import main

raise SystemExit(main())
