"""What the runners need of Windows. Can be imported anywhere, for its tests run where there is no Windows."""
